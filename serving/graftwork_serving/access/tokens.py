"""Signed tokens (JWT): checked with the issuer's public keys, and what their claims allow."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graftwork_serving.access.callers import Caller, RefusedError, rate_of
from graftwork_serving.access.signers import SignerKeys
from graftwork_serving.endpoint_config import TokenConfig

# Checking a signature costs far more than all else about a request; clients send the same token again and again.
_MOST_REMEMBERED = 4096
_LONGEST_TOKEN = 8192


@dataclass(frozen=True, kw_only=True)
class _Checked:
    caller: Caller
    until: float
    revision: int


class TokenVerifier:
    """Says who holds a token.

    Args:
        config: which tokens count.
        clock: seconds since 1970.
    """

    def __init__(self, config: TokenConfig, *, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._checked: OrderedDict[bytes, _Checked] = OrderedDict()
        self.signers = SignerKeys(config.issuer, config.keys)

    async def find(self, token: str) -> Caller:
        """Who holds a token.

        Raises:
            RefusedError: it does not count (401), or cannot be checked now (503).
        """
        digest = hashlib.sha256(token.encode()).digest()
        known = self._checked.get(digest)
        if known is not None and known.revision == self.signers.revision and self._clock() < known.until:
            self._checked.move_to_end(digest)
            return known.caller
        claims = await self._verify(token)
        caller = self._caller(claims)
        self._checked[digest] = _Checked(
            caller=caller, until=float(claims["exp"]) + self._config.leeway_s, revision=self.signers.revision
        )
        while len(self._checked) > _MOST_REMEMBERED:
            self._checked.popitem(last=False)
        return caller

    async def _verify(self, token: str) -> dict[str, Any]:
        import jwt

        if len(token) > _LONGEST_TOKEN:
            raise RefusedError(401, f"The token is longer than {_LONGEST_TOKEN:,} characters.", reason="bad-token")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise RefusedError(401, f"The token is no signed JWT ({error}).", reason="bad-token") from error
        key = await self.signers.find(header.get("kid"))
        if key is None and not self.signers.is_known:
            raise RefusedError(503, "Tokens cannot be checked now. Try again.", reason="no-signer", retry_after_s=10)
        if key is None:
            raise RefusedError(401, "The token is signed with a key its issuer does not list.", reason="bad-token")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=self._config.algorithms,
                audience=self._config.audience,
                issuer=self._config.issuer,
                leeway=self._config.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise RefusedError(401, "The token has expired. Get a new one.", reason="expired-token") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise RefusedError(401, f"The token does not count here ({error}).", reason="bad-token") from error
        return claims

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        config = self._config
        subject = str(claims.get("sub") or claims.get("client_id") or claims.get("azp") or "")
        return Caller(
            identity=hashlib.sha256(subject.encode()).hexdigest()[:32],
            models=None if config.models_claim is None else _named_models(claims.get(config.models_claim)),
            rate=rate_of(config.requests_per_second, config.burst),
        )


def _named_models(claim: Any) -> frozenset[str]:
    """Models in a claim: a list of names, or names with spaces between them, as in `scope`."""
    match claim:
        case str():
            return frozenset(claim.split())
        case list():
            return frozenset(each for each in claim if isinstance(each, str))
        case _:
            return frozenset()
