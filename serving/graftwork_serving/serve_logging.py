"""What Ray Serve's own parts write to their files.

A line for each request, which nobody reads, would cost a hundredth of the requests and fill gigabytes of disk. Each
deployment has to be told: what Serve itself is started with does not reach replicas.
"""

from __future__ import annotations

from typing import Any, Final

SERVE_LOGGING: Final[dict[str, Any]] = {"enable_access_log": False, "log_level": "WARNING"}
