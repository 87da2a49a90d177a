"""A cluster in memory: objects, versions, owners and garbage collection as far as the operator sees them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from graftwork.controller.cluster import ConflictError, Object

Path = tuple[str, str, str]


class KilledError(BaseException):
    """The process was killed; nothing may catch this."""


class FakeCluster:
    """Implements `graftwork.controller.cluster.Cluster`.

    Attributes:
        objects: by kind, namespace and name.
        history: every object ever made, as kind and name.
        before_write: called before each write; may raise `KilledError`.
        after_write: called after each write; may raise `KilledError`.
        has_kuberay: whether ray.io is served.
        has_gateway_api: whether gateway.networking.k8s.io is.
    """

    def __init__(self) -> None:
        self.objects: dict[Path, Object] = {}
        self.history: list[tuple[str, str]] = []
        self.writes = 0
        self.before_write: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None
        self.has_kuberay = True
        self.has_gateway_api = True
        self._uids = itertools.count(1)
        self._versions = itertools.count(1)

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        most: int | None = None,
    ) -> list[Object]:
        key, _, value = labels.partition("=")
        return [
            copy.deepcopy(found)
            for (each_kind, each_namespace, _), found in self.objects.items()
            if each_kind == kind
            and namespace in {None, each_namespace}
            and (not key or found["metadata"].get("labels", {}).get(key) == value)
            and all(_is_selected(found, field) for field in fields.split(",") if field)
        ][:most]

    def apply(self, manifest: Mapping[str, Any]) -> Object:
        path = self._path(manifest)
        old = self.objects.get(path)
        uid = manifest["metadata"].get("uid")
        if uid is not None and (old is None or old["metadata"]["uid"] != uid):
            raise ConflictError("uid mismatch", delay_s=1)
        if old is None:
            self.before_write()
            found = self._made(manifest)
        else:
            found = {**old, **copy.deepcopy(dict(manifest)), "status": old.get("status", {})}
            found["metadata"] = {**old["metadata"], **copy.deepcopy(dict(manifest["metadata"]))}
            if found == {**old, "status": found["status"]}:
                return copy.deepcopy(old)  # nothing to write
            self.before_write()
            if old.get("spec") != found.get("spec"):
                found["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self.objects[path] = self._stamped(found)
        return self._wrote(found)

    def apply_status(self, manifest: Mapping[str, Any]) -> Object | None:
        found = self.objects.get(self._path(manifest))
        if found is None or found["metadata"]["uid"] != manifest["metadata"]["uid"]:
            return None
        self.before_write()
        found["status"] = copy.deepcopy(dict(manifest["status"]))
        self._stamped(found)
        return self._wrote(found)

    def create(self, manifest: Mapping[str, Any]) -> bool:
        self.before_write()
        path = self._path(manifest)
        if path in self.objects:
            return False
        self.objects[path] = self._stamped(self._made(manifest))
        self._wrote(self.objects[path])
        return True

    def replace(self, manifest: Mapping[str, Any]) -> Object:
        self.before_write()
        old = self.objects[self._path(manifest)]
        if old["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise ConflictError("changed in between", delay_s=1)
        found = copy.deepcopy(dict(manifest))
        self.objects[self._path(manifest)] = self._stamped(found)
        return self._wrote(found)

    def delete(self, api_version: str, kind: str, namespace: str, name: str, *, uid: str | None = None) -> bool:
        self.before_write()
        found = self.objects.get((kind, namespace, name))
        if found is None or uid not in {None, found["metadata"]["uid"]}:
            return False
        del self.objects[kind, namespace, name]
        self._collect(found["metadata"]["uid"])
        self._wrote(found)
        return True

    def knows(self, api_version: str) -> bool:
        return self.has_kuberay if api_version.startswith("ray.io") else self.has_gateway_api

    def named(self, kind: str) -> tuple[str, ...]:
        """Names of all objects of a kind."""
        return tuple(sorted(name for each, _, name in self.objects if each == kind))

    def _path(self, manifest: Mapping[str, Any]) -> Path:
        return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]

    def _made(self, manifest: Mapping[str, Any]) -> Object:
        found = copy.deepcopy(dict(manifest))
        found["metadata"] |= {"uid": f"uid-{next(self._uids)}", "generation": 1}
        self.history.append((found["kind"], found["metadata"]["name"]))
        return found

    def _stamped(self, found: Object) -> Object:
        found["metadata"]["resourceVersion"] = str(next(self._versions))
        return found

    def _wrote(self, found: Object) -> Object:
        self.writes += 1
        self.after_write()
        return copy.deepcopy(found)

    def _collect(self, uid: str) -> None:
        for path, found in list(self.objects.items()):
            owners = [owner["uid"] for owner in found["metadata"].get("ownerReferences", [])]
            if uid in owners and path in self.objects:
                del self.objects[path]
                self._collect(found["metadata"]["uid"])


def _is_selected(found: Object, selector: str) -> bool:
    """Whether an object passes `PATH=VALUE` or `PATH!=VALUE`; a field that is not there is an empty text."""
    path, is_equal, value = selector.partition("=")
    here: Any = found
    for key in path.removesuffix("!").split("."):
        here = (here or {}).get(key)
    text = str(here).lower() if isinstance(here, bool) else here or ""
    return (text == value) is (is_equal != "" and not path.endswith("!"))
