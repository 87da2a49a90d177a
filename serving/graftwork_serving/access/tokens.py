"""Signed tokens (JWT): checked with the issuer's public keys, and what their claims allow."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graftwork_serving.access.callers import Caller, RefusedError, rate_of
from graftwork_serving.access.signers import SignerKeys, signature_key
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
        if key is None and not self.signers.are_all:
            raise RefusedError(
                503, "This token cannot be checked now. Try again.", reason="no-signer", retry_after_s=10
            )
        if key is None:
            raise RefusedError(401, "The token is signed with a key its issuer does not list.", reason="bad-token")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                signature_key(key),
                algorithms=self._config.algorithms,
                audience=self._config.audience,
                issuer=self._config.issuer,
                leeway=self._config.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise RefusedError(401, "The token has expired. Get a new one.", reason="expired-token") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise RefusedError(401, self._why_not(token, header, error), reason="bad-token") from error
        return claims

    def _why_not(self, token: str, header: Mapping[str, Any], error: Exception) -> str:
        """What is wrong with a token; who signed it and for whom is looked at only where its signature is right."""
        import jwt

        config = self._config
        match error:
            case jwt.InvalidAlgorithmError() if header.get("alg") not in config.algorithms:
                where, received, expected = "alg", header.get("alg"), " or ".join(config.algorithms)
                fix = "Have it signed so, or name the algorithm in auth.jwt.algorithms."
            case jwt.InvalidIssuerError():
                where, received, expected = "iss", _claim(token, "iss"), repr(config.issuer)
                fix = (
                    "Get a token there; auth.jwt.issuer has to be the same to the letter, a slash at the end included."
                )
            case jwt.InvalidAudienceError():
                where, received, expected = "aud", _claim(token, "aud"), repr(config.audience)
                fix = "Ask the issuer for a token for that audience."
            case _:
                return f"The token does not count here ({error})."
        return f"The token's {where}: received {repr(received)[:200]}, expected {expected}. {fix}"

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        config = self._config
        subject = str(claims.get("sub") or claims.get("client_id") or claims.get("azp") or "")
        return Caller(
            identity=hashlib.sha256(subject.encode()).hexdigest()[:32],
            models=None if config.models_claim is None else _named_models(claims.get(config.models_claim)),
            rate=rate_of(config.requests_per_second, config.burst),
        )


def _claim(token: str, name: str) -> Any:
    """A claim of a token whose signature was checked."""
    import jwt

    return jwt.decode(token, options={"verify_signature": False}).get(name)


def _named_models(claim: Any) -> frozenset[str]:
    """Models in a claim: a list of names, or names with spaces between them, as in `scope`."""
    match claim:
        case str():
            return frozenset(claim.split())
        case list():
            return frozenset(each for each in claim if isinstance(each, str))
        case _:
            return frozenset()
