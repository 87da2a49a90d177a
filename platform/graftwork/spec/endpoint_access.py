"""The `auth` section of an endpoint: who may ask. No I/O here."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from graftwork.spec.base import Inconsistency, Name, PositiveInt, SpecModel, Text, Uri, refuse_if_any

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA"]
"""Signatures with a public key; a shared secret would let whoever checks tokens make them."""
_USUAL: tuple[Algorithm, ...] = ("RS256", "ES256")
_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


class ApiKeys(SpecModel):
    """Keys that clients send as `Authorization: Bearer KEY` or `x-api-key: KEY`."""

    file: Text | None = None
    """File of key hashes on one machine, which `graft keys create` writes. Changes count within seconds, without a
    restart."""
    secret_name: Name | None = None
    """Secret on Kubernetes whose entry `keys.yaml` is such a file. Changes count once the cluster has brought them to
    the pods, without a restart."""

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        refuse_if_any(
            Inconsistency(
                received="neither `file` nor `secretName`",
                expected="`file` for `graft serve`, `secretName` for Kubernetes, or both",
                fix="Add one, such as `file: keys.yaml`.",
                involves=(("file",), ("secretName",)),
            )
            if self.file is None and self.secret_name is None
            else None
        )
        return self


class Jwt(SpecModel):
    """Signed tokens of an OpenID Connect provider, sent as `Authorization: Bearer TOKEN`."""

    issuer: Text
    """Who signs: the token's `iss`, such as `https://login.example.com`."""
    audience: Text
    """For whom: one of the token's `aud`."""
    keys: Uri | None = None
    """The signer's public keys (a JWK set): a URL or the path of a file. Default: what the issuer's
    `/.well-known/openid-configuration` names. Read again every five minutes, and when a token names a new key."""
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = Field(default_factory=lambda: list(_USUAL))
    """Signatures that count. Default: RS256 and ES256."""
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    """How far clocks may differ."""
    models_claim: Text | None = None
    """Claim that names the models a token is for: a list, or words with spaces between them. A token without it is for
    none. Default: every token is for all models."""
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    """Requests of each `sub` a second in the long run, whatever they hold. Default: any number."""
    burst: PositiveInt | None = None
    """Requests at once beyond that. Default: those of one second, at least one."""

    @model_validator(mode="after")
    def _keys_come_safely(self) -> Self:
        refuse_if_any(
            _unsafe_url(("keys",), self.keys)
            if self.keys is not None
            else _unsafe_url(("issuer",), self.issuer) or _no_discovery(self.issuer),
            Inconsistency(
                at=("burst",),
                received="a `burst` without `requestsPerSecond`",
                expected="`requestsPerSecond`, beyond which it counts",
                fix="Add it, or remove `burst`.",
                involves=(("requestsPerSecond",),),
            )
            if self.burst is not None and self.requests_per_second is None
            else None,
        )
        return self


class Access(SpecModel):
    """Who may ask an endpoint: whoever has a key or a token, where both are given."""

    api_keys: ApiKeys | None = None
    """Who holds one of these keys."""
    jwt: Jwt | None = None
    """Who holds a token of this issuer."""

    @model_validator(mode="after")
    def _someone_may_ask(self) -> Self:
        refuse_if_any(
            Inconsistency(
                received="neither `apiKeys` nor `jwt`",
                expected="one of them, or both",
                fix="Add one, or let everyone ask with `auth: none`.",
                involves=(("apiKeys",), ("jwt",)),
            )
            if self.api_keys is None and self.jwt is None
            else None
        )
        return self


Auth = Access | Literal["none"]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may stand for any address


def _unsafe_url(at: tuple[str], url: str) -> Inconsistency | None:
    """Refuse keys that anyone on the way could exchange."""
    parts = urlsplit(url)
    if parts.scheme != "http" or is_loopback(parts.hostname or ""):
        return None
    return Inconsistency(
        at=at,
        received=f"{url}, whose answer anyone on the way could change",
        expected="an address that begins with `https://`",
        fix=f"Use https://{url.removeprefix('http://')}.",
    )


def _no_discovery(issuer: str) -> Inconsistency | None:
    if urlsplit(issuer).scheme in {"http", "https"}:
        return None
    return Inconsistency(
        at=("keys",),
        received=f"nothing, while the issuer {issuer} is no URL that could be asked",
        expected="the URL or path of the issuer's public keys",
        fix="Add `keys`.",
        involves=(("issuer",),),
    )


def open_listener(auth: Auth | None, *, section: str, host: str | None) -> Inconsistency | None:
    """Refuse an address that others reach while nothing is said about who may ask.

    Args:
        auth: of the endpoint.
        section: of the listener, such as `http`.
        host: its address; None where it does not listen.
    """
    if auth is not None or host is None or is_loopback(host):
        return None
    return Inconsistency(
        at=("auth",),
        received=f"nothing, while `{section}.host` {host} is open to other machines",
        expected="a section that says who may ask",
        fix="Run `graft keys create NAME` and add `auth: {apiKeys: {file: keys.yaml}}`, or let everyone ask with "
        "`auth: none`.",
        involves=((section, "host"),),
    )
