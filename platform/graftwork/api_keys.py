"""API keys: how they look, and the file that keeps their hashes. `graft keys` writes it, endpoints read it.

A key is `graft_ID_SECRET`. ID finds the entry; of SECRET, 256 random bits, the file has a hash only. A plain SHA-256 is
right for it: slow hashes are for passwords, which can be guessed, and would cost an endpoint milliseconds a request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from graftwork.errors import Problem, SpecError
from graftwork.spec.base import Name, PositiveInt, SpecModel, Text
from graftwork.whole_file import write_whole

KEYS_ENTRY = "keys.yaml"
"""Name of the file in a Secret."""
KEYS_FOLDER = "/etc/graftwork/keys"
"""Where the Secret is in a pod."""
KEY_PREFIX = "graft_"
"""Begins every key."""
_PARTS = 3
_ID_BYTES = 6
_SECRET_BYTES = 32
_HEADER = "# Written by `graft keys`. Holds hashes of keys, not keys.\n"
_NO_HASH = "0" * 64


class ApiKey(SpecModel):
    """One key."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    """Part of the key that finds it here."""
    name: Name
    """Whose it is."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the whole key, in hexadecimal digits."""
    models: Annotated[list[Text], Field(min_length=1)] | None = None
    """Models it may ask, by their names in request URLs. Default: all."""
    expires: AwareDatetime | None = None
    """When it stops working. Default: never."""
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    """Requests a second in the long run, whatever they hold. Default: any number."""
    burst: PositiveInt | None = None
    """Requests at once beyond that. Default: those of one second, at least one."""


def _ids_differ(keys: list[ApiKey]) -> list[ApiKey]:
    seen: set[str] = set()
    for key in keys:
        if key.id in seen:
            raise ValueError(f"two keys have the id {key.id}")
        seen.add(key.id)
    return keys


class KeyFile(SpecModel):
    """The file."""

    keys: Annotated[list[ApiKey], AfterValidator(_ids_differ)] = Field(default_factory=list)
    """All keys."""


def new_key(
    name: str,
    *,
    models: list[str] | None = None,
    expires: datetime | None = None,
    requests_per_second: float | None = None,
    burst: int | None = None,
) -> tuple[str, ApiKey]:
    """A fresh key, and its entry for the file."""
    key_id = secrets.token_hex(_ID_BYTES)
    key = f"{KEY_PREFIX}{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    entry = ApiKey(
        id=key_id,
        name=name,
        sha256=hashlib.sha256(key.encode()).hexdigest(),
        models=models,
        expires=expires,
        requests_per_second=requests_per_second,
        burst=burst,
    )
    return key, entry


def find_key(given: str, keys: dict[str, ApiKey]) -> ApiKey | None:
    """The entry of a key as a client sent it; None if there is none.

    How long this takes tells nothing about any secret.

    Args:
        given: what the client sent.
        keys: entries by id.
    """
    parts = given.split("_", _PARTS - 1)
    entry = keys.get(parts[1]) if len(parts) == _PARTS else None
    digest = hashlib.sha256(given.encode()).hexdigest()
    is_right = hmac.compare_digest(digest, entry.sha256 if entry is not None else _NO_HASH)
    return entry if is_right else None


def read_key_file(file: Path) -> KeyFile:
    """Read and check the file.

    Raises:
        SpecError: it is not there, or wrong.
    """
    try:
        content: Any = yaml.load(file.read_text(encoding="utf-8"), Loader=_FastLoader)  # noqa: S506 (a safe loader)
    except OSError as error:
        received = (error.strerror or str(error)).lower()
        raise _wrong(file, "file", received, "a file of API keys", "Make one with `graft keys create NAME`.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        received = str(error).splitlines()[0]
        raise _wrong(file, "file", received, "YAML as `graft keys` writes it", "Restore the file.") from error
    try:
        return KeyFile.model_validate(content if content is not None else {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "keys"
        raise _wrong(file, where, first["msg"].lower(), "an entry as `graft keys` writes it", "Correct it.") from error


def write_key_file(file: Path, content: KeyFile) -> None:
    """Write the file, whole."""
    plain = content.model_dump(mode="json", by_alias=True, exclude_none=True)
    write_whole(file, _HEADER + yaml.safe_dump(plain, sort_keys=False))


def is_expired(key: ApiKey, now: datetime) -> bool:
    """Whether a key has stopped working."""
    return key.expires is not None and now >= key.expires


def utc_now() -> datetime:
    """The time, as `ApiKey.expires` is compared with."""
    return datetime.now(UTC)


_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _wrong(file: Path, where: str, received: str, expected: str, fix: str) -> SpecError:
    return SpecError(Problem(file=str(file), where=where, received=received, expected=expected, fix=fix))
