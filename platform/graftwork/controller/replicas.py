"""What an endpoint's replicas are asked by the operator, on the port of their metrics: any of them speaks for all."""

from __future__ import annotations

from typing import Final

import httpx
from pydantic import ValidationError

from graftwork.controller.rollback_report import ROLLBACKS_PATH, RollbackReport
from graftwork.errors import TransientError

# Below the time between two looks, and short: the operator looks at few objects at once.
_TIMEOUT_S: Final = 3.0
_RETRY_S: Final = 30.0


class Replicas:
    """The replicas of endpoints.

    Args:
        client: for tests.
    """

    def __init__(self, client: httpx.Client | None = None) -> None:
        self._client = client or httpx.Client(timeout=_TIMEOUT_S)

    def rollbacks(self, address: str) -> RollbackReport:
        """What the replicas behind an address, HOST:PORT, gave up.

        Raises:
            TransientError: none of them says.
        """
        try:
            answer = self._client.get(f"http://{address}{ROLLBACKS_PATH}")
            answer.raise_for_status()
            return RollbackReport.model_validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as error:
            raise TransientError(
                f"No replica says at {address} what it gave up ({error}). See that the operator runs in the cluster, "
                "that a NetworkPolicy lets it through, and that kubernetes.image is of its version.",
                delay_s=_RETRY_S,
            ) from error
