"""What an endpoint's replicas are asked by the operator, on the port of their metrics: any of them speaks for all.

Whoever may run pods in a namespace may answer in their place: answers are bounded in time and size, and what is no
report is not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import httpx
from pydantic import ValidationError

from graftwork.controller.rollback_report import ROLLBACKS_PATH, RollbackReport
from graftwork.errors import TransientError

# Short: the operator looks at few objects at once.
_TIMEOUT_S: Final = 2.0
_MOST_BYTES: Final = 256 * 1024
_RETRY_S: Final = 30.0


class Replicas:
    """The replicas of endpoints.

    Args:
        clock: seconds, only going forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False)
        self._clock = clock

    def rollbacks(self, address: str) -> RollbackReport:
        """What the replicas behind an address, HOST:PORT, gave up.

        Raises:
            TransientError: none of them says.
        """
        try:
            return RollbackReport.model_validate_json(self._asked(f"http://{address}{ROLLBACKS_PATH}"))
        except (httpx.HTTPError, ValidationError) as error:
            why = "the answer is no report" if isinstance(error, ValidationError) else str(error)
            raise TransientError(
                f"No replica says at {address} what it gave up ({why}). See that the operator runs in the cluster, "
                "that a NetworkPolicy lets it through, and that kubernetes.image is of its version.",
                delay_s=_RETRY_S,
            ) from error

    def _asked(self, url: str) -> bytes:
        end = self._clock() + _TIMEOUT_S
        content = b""
        with self._client.stream("GET", url) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_raw():
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise httpx.ReadError(f"more than {_MOST_BYTES} bytes")
                if self._clock() > end:
                    raise httpx.ReadTimeout(f"longer than {_TIMEOUT_S:.0f} s")
        return content
