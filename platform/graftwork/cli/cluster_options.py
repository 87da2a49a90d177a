"""What the commands that speak to a cluster share: options, and the object they are about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork.spec.base import API_VERSION
from graftwork.spec.load import KINDS

if TYPE_CHECKING:
    from graftwork.controller.cluster import KubernetesCluster, Object

_Function = TypeVar("_Function", bound=Callable[..., Any])


def cluster_options(function: _Function) -> _Function:
    """Add `--context` and `-n/--namespace`; the command takes them as `context` and `namespace`."""
    named = click.option("-n", "--namespace", help="Namespace. Default: the context's.")(function)
    return click.option("--context", help="Context of the kubeconfig. Default: the current one.")(named)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A namespace of a cluster.

    Attributes:
        cluster: the cluster.
        namespace: the namespace.
    """

    cluster: KubernetesCluster
    namespace: str

    def find(self, name: str) -> Object:
        """The job or endpoint of a name; `KIND/NAME` chooses where both have it.

        Raises:
            SpecError: there is none, or there are two.
        """
        kind, _, short = name.rpartition("/")
        kinds = [each for each in KINDS if not kind or each.lower() == kind.lower()]
        found = [
            thing for each in kinds if (thing := self.cluster.get(API_VERSION, each, self.namespace, short)) is not None
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise _wrong(name, "the name of a job and of an endpoint", f"Write FineTuneJob/{short}.")
        known = [item["metadata"]["name"] for each in KINDS for item in self.all(each)]
        fix = did_you_mean(short, known) or "`graft status` lists what there is."
        raise _wrong(name, f"no job and no endpoint in the namespace {self.namespace}", fix)

    def all(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return self.cluster.list(API_VERSION, kind, self.namespace)


def _wrong(name: str, received: str, fix: str) -> SpecError:
    return SpecError(Problem(where=name, received=received, expected="one object", fix=fix))


def place_of(context: str | None, namespace: str | None) -> Place:
    """Where the options point."""
    from graftwork.controller.cluster import connect

    cluster, default = connect(context=context)
    return Place(cluster=cluster, namespace=namespace or default)
