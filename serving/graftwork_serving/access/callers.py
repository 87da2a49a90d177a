"""Whoever asks, once known, and the ways to be refused. Pure."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal

from graftwork.errors import RequestError

Reason = Literal[
    "no-key", "unknown-key", "expired-key", "bad-token", "expired-token", "no-signer", "other-model", "rate-limit"
]
"""Why a request was refused, for metrics."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often someone may ask.

    Attributes:
        per_second: requests a second in the long run.
        burst: requests at once beyond that, at least 1.
    """

    per_second: float
    burst: int


def rate_of(per_second: float | None, burst: int | None) -> Rate | None:
    """A rate as specs and key files give it; without a burst, what comes in a second may come at once."""
    return None if per_second is None else Rate(per_second=per_second, burst=burst or max(1, math.ceil(per_second)))


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        identity: tells callers apart.
        models: models they may ask by name; None for all.
        rate: how often; None for any number.
    """

    identity: str
    models: frozenset[str] | None = None
    rate: Rate | None = None

    def sees(self, model: str) -> bool:
        """Whether a model is theirs to ask."""
        return self.models is None or model in self.models

    def check_model(self, model: str) -> None:
        """Refuse what is not theirs, whether it exists or not.

        Raises:
            RefusedError: it is another's (403).
        """
        if not self.sees(model):
            raise RefusedError(
                403, f"You may not use model {model[:100]!r} here. Ask whoever runs the endpoint.", reason="other-model"
            )


ANYONE = Caller(identity="")
"""Whoever asks where nobody is asked who they are."""
CALLER: Final = ContextVar("CALLER", default=ANYONE)
"""Who makes the request that is being answered."""


class RefusedError(RequestError):
    """A request that its sender may not make.

    Attributes:
        reason: why, for metrics.
        retry_after_s: when to come back, where that helps.
    """

    def __init__(self, status: int, message: str, *, reason: Reason, retry_after_s: int | None = None) -> None:
        super().__init__(status, message)
        self.reason = reason
        self.retry_after_s = retry_after_s

    def headers(self, realm: str) -> tuple[tuple[bytes, bytes], ...]:
        """What the answer says beside its sentence.

        Args:
            realm: names the endpoint.
        """
        if self.retry_after_s is not None:
            return ((b"retry-after", str(self.retry_after_s).encode()),)
        if self.status == 401:  # noqa: PLR2004 (HTTP: unauthorized)
            # Source: RFC 6750, section 3
            error = ', error="invalid_token"' if self.reason in {"bad-token", "expired-token"} else ""
            return ((b"www-authenticate", f'Bearer realm="{realm}"{error}'.encode()),)
        return ()
