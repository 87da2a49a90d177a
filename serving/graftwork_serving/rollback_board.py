"""What replicas tell each other of versions they gave up: small records in the Ray cluster's own key-value store.

Every replica, on whichever machine, and the process that started a local endpoint read the same records. They live as
long as the cluster.
"""

from __future__ import annotations

from typing import Protocol

from graftwork_serving.rollouts import GivenUp

_NAMESPACE = b"graftwork"
_PREFIX = "given-up"


class RollbackBoard(Protocol):
    """Where the records are."""

    def read(self, endpoint: str) -> list[GivenUp]:
        """All records of an endpoint."""
        ...

    def write(self, record: GivenUp) -> None:
        """Add a record, or replace the one on the same arm."""
        ...

    def remove(self, record: GivenUp) -> None:
        """The arm's alias has moved on."""
        ...


class RayRollbackBoard:
    """Records in the store of the Ray cluster that this process belongs to."""

    def read(self, endpoint: str) -> list[GivenUp]:
        """All records of an endpoint."""
        from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list

        keys = _internal_kv_list(f"{_PREFIX}/{endpoint}/", namespace=_NAMESPACE)
        found = [_internal_kv_get(key, namespace=_NAMESPACE) for key in keys]
        return [GivenUp.model_validate_json(content) for content in found if content is not None]

    def write(self, record: GivenUp) -> None:
        """Add a record, or replace the one on the same arm."""
        from ray.experimental.internal_kv import _internal_kv_put

        _internal_kv_put(_key(record), record.model_dump_json(), overwrite=True, namespace=_NAMESPACE)

    def remove(self, record: GivenUp) -> None:
        """The arm's alias has moved on."""
        from ray.experimental.internal_kv import _internal_kv_del

        _internal_kv_del(_key(record), namespace=_NAMESPACE)


def _key(record: GivenUp) -> str:
    return f"{_PREFIX}/{record.endpoint}/{record.bad.name} {record.bad.reference}"
