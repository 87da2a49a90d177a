"""From the `auth` section of a spec to what replicas are told, checked before anything starts."""

from __future__ import annotations

from pathlib import Path

from graftwork.api_keys import KEYS_ENTRY, KEYS_FOLDER, read_key_file
from graftwork.errors import Problem, SpecError
from graftwork.spec.endpoint_access import Access, is_loopback
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork_serving.endpoint_config import AccessConfig, TokenConfig


def local_access(endpoint: InferenceEndpoint, *, base_dir: Path, file: Path) -> AccessConfig | None:
    """Who may ask an endpoint on this machine.

    Args:
        endpoint: the spec.
        base_dir: folder at which its relative paths start.
        file: the spec's file, for errors.

    Raises:
        SpecError: the key file is not named, not there, or wrong; or the keys that sign tokens cannot be had.
    """
    spec = endpoint.spec
    if spec.auth is None or spec.auth == "none":
        return None
    keys, keys_file = spec.auth.api_keys, None
    if keys is not None and keys.file is None:
        raise SpecError(
            Problem(
                file=str(file),
                where="spec.auth.apiKeys",
                received="a `secretName`, which is for Kubernetes",
                expected="a `file` to serve from on this machine",
                fix="Run `graft keys create NAME` and add `file: keys.yaml`.",
            )
        )
    if keys is not None and keys.file is not None:
        keys_file = (base_dir / Path(keys.file).expanduser()).absolute()
        read_key_file(keys_file)
    tokens = _tokens(spec.auth, base_dir=base_dir)
    if tokens is not None:
        from graftwork_serving.access.signers import fetch_keys

        fetch_keys(tokens.issuer, tokens.keys)
    return AccessConfig(
        keys_file=None if keys_file is None else str(keys_file),
        tokens=tokens,
        open_metrics=is_loopback(spec.http.host),
    )


def cluster_access(endpoint: InferenceEndpoint) -> AccessConfig | None:
    """Who may ask an endpoint on Kubernetes, where the operator has mounted the keys."""
    auth = endpoint.spec.auth
    if auth is None or auth == "none":
        return None
    keys_file = None if auth.api_keys is None else f"{KEYS_FOLDER}/{KEYS_ENTRY}"
    return AccessConfig(keys_file=keys_file, tokens=_tokens(auth, base_dir=Path("/")))


def _tokens(auth: Access, *, base_dir: Path) -> TokenConfig | None:
    jwt = auth.jwt
    if jwt is None:
        return None
    keys = jwt.keys
    if keys is not None and "://" not in keys:
        keys = str((base_dir / Path(keys).expanduser()).absolute())
    return TokenConfig(
        issuer=jwt.issuer,
        audience=jwt.audience,
        keys=keys,
        algorithms=list(jwt.algorithms),
        leeway_s=jwt.leeway_seconds,
        models_claim=jwt.models_claim,
        requests_per_second=jwt.requests_per_second,
        burst=jwt.burst,
    )
