"""How Ray Serve is set up for every endpoint, here and on a cluster. Pure.

A line for each request, which nobody reads, would cost a hundredth of the requests and fill gigabytes of disk.
"""

from __future__ import annotations

from typing import Any, Final

SERVE_ENVIRONMENT: Final = {
    # What makes Serve fast; both or neither (see the measurements in the documentation).
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # One log datagram a request, parsed in Python; the replicas count requests themselves.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Ten times a second otherwise, on the event loop that answers requests.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    # A proxy that died is missed at the third look: half a minute of refused connections otherwise.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    # A proxy that is not ready after three such times is killed, and Serve's start fails with it. Fifteen seconds are
    # soon over where many processes start at once; Serve itself waits a minute for its proxies.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
    # Or Serve takes what replicas print for its own, and drops what is below its level.
    "RAY_SERVE_LOG_TO_STDERR": "1",
}
"""Of all processes of Ray."""
SERVE_LOGGING: Final[dict[str, Any]] = {"enable_access_log": False, "log_level": "WARNING"}
"""Of Serve, and of each deployment besides: what Serve is started with does not reach replicas."""
