"""Which of several operators acts: the holder of a Lease. `next_lease` is pure; `Leader` asks and writes.

A holder that cannot renew stops acting before another may take over: its own deadline is shorter than the Lease's.
Source: https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from graftwork.controller.cluster import Cluster, ConflictError, Object
from graftwork.errors import GraftworkError

_VERSION: Final = "coordination.k8s.io/v1"
LEASE_S: Final = 15
RENEW_S: Final = 10.0
"""How long a holder goes on acting without having renewed."""
RETRY_S: Final = 2.0


def lease_time(moment: datetime) -> str:
    """A moment as Leases hold it, in microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def next_lease(lease: Object | None, *, me: str, namespace: str, name: str, now: datetime) -> Object | None:
    """The Lease to write in order to hold it; None while somebody else does.

    Args:
        lease: as it stands; None if there is none.
        me: who asks.
        namespace: where.
        name: of the Lease.
        now: the time.
    """
    spec: dict[str, Any] = dict((lease or {}).get("spec") or {})
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    expired = renewed is None or (now - datetime.fromisoformat(renewed)).total_seconds() > LEASE_S
    if holder and holder != me and not expired:
        return None
    taken = holder != me
    return {
        "apiVersion": _VERSION,
        "kind": "Lease",
        "metadata": dict(lease["metadata"]) if lease is not None else {"name": name, "namespace": namespace},
        "spec": {
            "holderIdentity": me,
            "leaseDurationSeconds": LEASE_S,
            "acquireTime": lease_time(now) if taken else spec.get("acquireTime", lease_time(now)),
            "renewTime": lease_time(now),
            "leaseTransitions": int(spec.get("leaseTransitions", 0)) + (1 if taken and lease is not None else 0),
        },
    }


@dataclass(kw_only=True)
class Leader:
    """One operator's claim to lead.

    Attributes:
        cluster: where the Lease is.
        namespace: where.
        name: of the Lease; operators that share it take turns.
        me: name of this operator, unique.
        clock: the time.
    """

    cluster: Cluster
    namespace: str
    name: str
    me: str
    clock: Callable[[], datetime]
    _renewed: datetime | None = field(default=None, init=False)

    @property
    def leads(self) -> bool:
        """Whether this operator may act right now."""
        return self._renewed is not None and (self.clock() - self._renewed).total_seconds() < RENEW_S

    def try_once(self) -> bool:
        """Take or renew the Lease; whether it is held afterwards."""
        now = self.clock()
        try:
            lease = self.cluster.get(_VERSION, "Lease", self.namespace, self.name)
            wanted = next_lease(lease, me=self.me, namespace=self.namespace, name=self.name, now=now)
            if wanted is None:
                self._renewed = None
            elif lease is None:
                self._renewed = now if self.cluster.create(wanted) else None
            else:
                self.cluster.replace(wanted)
                self._renewed = now
        except ConflictError:
            self._renewed = None  # somebody was faster
        except GraftworkError:
            # The API server does not answer: the claim stands until its own deadline.
            pass
        return self.leads

    def step_down(self) -> None:
        """Let another lead at once."""
        if not self.leads:
            return
        self._renewed = None
        lease = self.cluster.get(_VERSION, "Lease", self.namespace, self.name)
        if lease is not None and lease["spec"].get("holderIdentity") == self.me:
            lease["spec"] |= {"holderIdentity": "", "renewTime": None}
            self.cluster.replace(lease)
