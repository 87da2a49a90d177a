"""The cluster's API: the one place that talks to it. Everything else takes a `Cluster` as an argument.

Thin on purpose: paths, verbs and errors. Watches are kopf's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from graftwork.controller.in_pod import ACCOUNT_DIR
from graftwork.controller.names import FIELD_MANAGER
from graftwork.controller.ray_status import KUBERAY
from graftwork.errors import PermanentError, TransientError
from graftwork.spec.base import API_VERSION

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]

# Plural names in URLs, of the kinds we touch.
_PLURALS: Final[Mapping[str, str]] = {
    "ConfigMap": "configmaps",
    "Event": "events",
    "FineTuneJob": "finetunejobs",
    "HTTPRoute": "httproutes",
    "InferenceEndpoint": "inferenceendpoints",
    "Ingress": "ingresses",
    "Job": "jobs",
    "Lease": "leases",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "RayCluster": "rayclusters",
    "RayJob": "rayjobs",
    "RayService": "rayservices",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "Workload": "workloads",
}
_NOT_OF_THE_KIND = "failed to create typed patch object"
_NO_KUBECONFIG = "No configuration found"
_TOO_MANY = 429
_FIRST_SERVER_ERROR = 500
_PAGE = 500
_TIMEOUT_S = 30


class ConflictError(TransientError):
    """Somebody else changed the object in between."""


class Cluster(Protocol):
    """What can be asked of a cluster."""

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        """An object; None if there is none."""
        ...

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
        """Objects of a kind, in a namespace or in all of them, that selectors of labels and of fields leave.

        None if the cluster does not know the kind; no more than `most`, whichever they are.
        """
        ...

    def apply(self, manifest: Mapping[str, Any]) -> Object:
        """Server-side apply in our name."""
        ...

    def apply_status(self, manifest: Mapping[str, Any]) -> Object | None:
        """The same, of the status; None if the object is gone."""
        ...

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Create an object; False if there is one already."""
        ...

    def replace(self, manifest: Mapping[str, Any]) -> Object:
        """Replace the version of an object that the manifest was made from."""
        ...

    def delete(self, api_version: str, kind: str, namespace: str, name: str, *, uid: str | None = None) -> bool:
        """See that an object is gone; False if there was none."""
        ...

    def knows(self, api_version: str) -> bool:
        """Whether the cluster serves an API group's version."""
        ...


class KubernetesCluster:
    """A cluster behind the official client.

    Args:
        client: configured for it.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.calls = 0

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        """An object; None if there is none."""
        return self._or_none("GET", path_of(api_version, kind, namespace, name))

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
        """Objects of a kind, in a namespace or in all of them, that selectors of labels and of fields leave.

        None if the cluster does not know the kind; no more than `most`, whichever they are.
        """
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(most or _PAGE)}
        chosen = {key: text for key, text in query.items() if text}
        return [*islice(self._pages(path_of(api_version, kind, namespace), chosen, api_version, kind), most)]

    def apply(self, manifest: Mapping[str, Any], *, manager: str = FIELD_MANAGER, strict: bool = False) -> Object:
        """Server-side apply in our name.

        Args:
            manifest: the object, as far as it is ours.
            manager: our name.
            strict: refuse fields that the kind does not have, rather than leave them out.
        """
        return self._apply(manifest, "", manager=manager, strict=strict)

    def merge(self, found: Mapping[str, Any], change: Mapping[str, Any]) -> Object:
        """Change some fields of an object that was read before."""
        query = {"fieldManager": "graft"}
        return self._call(
            "PATCH", _path_to(found), query=query, body=change, content_type="application/merge-patch+json"
        )

    def apply_status(self, manifest: Mapping[str, Any]) -> Object | None:
        """The same, of the status; None if the object is gone."""
        try:
            return self._apply(manifest, "/status")
        except _NotFoundError:
            return None

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Create an object; False if there is one already."""
        path = path_of(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["namespace"])
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        try:
            self._call("POST", path, query=query, body=manifest)
        except ConflictError:
            return False
        return True

    def replace(self, manifest: Mapping[str, Any]) -> Object:
        """Replace the version of an object that the manifest was made from."""
        return self._call("PUT", _path_to(manifest), query={"fieldManager": FIELD_MANAGER}, body=manifest)

    def delete(self, api_version: str, kind: str, namespace: str, name: str, *, uid: str | None = None) -> bool:
        """See that an object is gone; False if there was none."""
        body = {"propagationPolicy": "Background", **({"preconditions": {"uid": uid}} if uid is not None else {})}
        try:
            return self._or_none("DELETE", path_of(api_version, kind, namespace, name), body=body) is not None
        except ConflictError:
            return False  # a later namesake: ours is gone

    def knows(self, api_version: str) -> bool:
        """Whether the cluster serves an API group's version."""
        return self._or_none("GET", f"/apis/{api_version}") is not None

    def logs(self, namespace: str, pod: str, *, follow: bool, tail: int | None, container: str) -> Iterator[str]:
        """What a pod printed, line by line."""
        query = {"container": container, "follow": "true" if follow else "false"}
        if tail is not None:
            query["tailLines"] = str(tail)
        answer = self._raw("GET", f"{path_of('v1', 'Pod', namespace, pod)}/log", query=query, stream=True)
        rest = b""
        for chunk in answer.stream(decode_content=True):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        if rest:
            yield rest.decode(errors="replace")

    def _pages(self, path: str, asked: Mapping[str, str], api_version: str, kind: str) -> Iterator[Object]:
        query = dict(asked)
        while True:
            page = self._or_none("GET", path, query=query)
            if page is None:
                return
            # Entries of a list leave out what all of them share.
            yield from ({"apiVersion": api_version, "kind": kind, **item} for item in page["items"])
            more = page["metadata"].get("continue")
            if not more:
                return
            query["continue"] = more

    def _apply(
        self, manifest: Mapping[str, Any], subresource: str, *, manager: str = FIELD_MANAGER, strict: bool = False
    ) -> Object:
        query = {"fieldManager": manager, "force": "true", **({"fieldValidation": "Strict"} if strict else {})}
        path = _path_to(manifest) + subresource
        return self._call("PATCH", path, query=query, body=manifest, content_type="application/apply-patch+yaml")

    def _or_none(self, method: str, path: str, **options: Any) -> Object | None:
        try:
            return self._call(method, path, **options)
        except _NotFoundError:
            return None

    def _call(self, method: str, path: str, **options: Any) -> Object:
        answer: Object = json.loads(self._raw(method, path, **options))
        return answer

    def _raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        stream: bool = False,
    ) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        self.calls += 1
        prepared = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json, */*", "Content-Type": content_type},
            body=None if body is None else dict(body),
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*prepared, _request_timeout=None if stream else _TIMEOUT_S)
        except (HTTPError, ApiException) as error:
            raise TransientError(
                f"The Kubernetes API server does not answer ({error}). Check the kubeconfig's server and the network.",
                delay_s=5,
            ) from error
        if not 200 <= answer.status < 300:  # noqa: PLR2004 (success in HTTP)
            raise _error_of(answer.status, answer.read(), f"{method} {path}")
        return answer.response if stream else answer.read()


class _NotFoundError(PermanentError):
    """There is no such object, or no such kind."""


def path_of(api_version: str, kind: str, namespace: str | None, name: str | None = None) -> str:
    """Path of an object, or of all of a kind, in the API."""
    root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
    where = f"/namespaces/{quote(namespace, safe='')}" if namespace is not None else ""
    which = f"/{quote(name, safe='')}" if name is not None else ""
    return f"{root}{where}/{_PLURALS[kind]}{which}"


def _path_to(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    return path_of(manifest["apiVersion"], manifest["kind"], metadata["namespace"], metadata["name"])


def _error_of(status: int, body: bytes, what: str) -> Exception:
    """What a refusal means to us."""
    try:
        message = json.loads(body)["message"]
    except (TypeError, ValueError, KeyError):
        message = body.decode(errors="replace") or f"status {status}"
    match status:
        case 404 if message.startswith("namespaces "):
            return _NotFoundError(f"{message}. Create it, or name another one.")
        case 404 | 410:
            return _NotFoundError(f"{what}: {message}")
        case 409:
            return ConflictError(f"{what}: {message}", delay_s=1)
        case 403 if "exceeded quota" in message:
            return PermanentError(f"{message}. Free some of it, or have the namespace's quota raised.")
        case 403 if "denied the request" in message:
            return PermanentError(message)  # an admission webhook's own words
        case 401 | 403:
            return PermanentError(f"{message}. Ask whoever runs the cluster for the right, or use another context.")
        # Server-side apply says with 500 that an object does not fit its kind: trying again does not help.
        case 500 if _NOT_OF_THE_KIND in message:
            is_old = "field not declared in schema" in message
            fix = f". The kind is older than what is asked of it: update KubeRay ({KUBERAY})." if is_old else ""
            return PermanentError(f"{message}{fix}")
        case _ if status == _TOO_MANY or status >= _FIRST_SERVER_ERROR:
            return TransientError(f"{what}: {message}", delay_s=5)
        case _:
            return PermanentError(message)


def connect(kubeconfig: str | None = None, context: str | None = None) -> tuple[KubernetesCluster, str]:
    """The cluster of the current context, and the namespace it speaks of; in a pod without a kubeconfig, its own.

    Args:
        kubeconfig: file; None looks where kubectl does.
        context: None takes the current one.

    Raises:
        PermanentError: there is no usable kubeconfig.
    """
    import yaml
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    try:
        client = config.new_client_from_config(config_file=kubeconfig, context=context)
        listed: Any = config.list_kube_config_contexts(config_file=kubeconfig)
    except (ConfigException, OSError, TypeError, ValueError, yaml.YAMLError) as error:  # also of a file that is none
        if kubeconfig is None and context is None and (ACCOUNT_DIR / "namespace").is_file():
            return connect_inside(), (ACCOUNT_DIR / "namespace").read_text().strip()
        if _NO_KUBECONFIG in str(error):
            raise PermanentError(
                "There is no kubeconfig, so no cluster to ask. Set KUBECONFIG; jobs and endpoints of this machine "
                "answer to `graft jobs` and `graft endpoints`."
            ) from error
        raise PermanentError(f"{error} Set KUBECONFIG, or run `kubectl config use-context NAME`.") from error
    contexts, current = listed
    chosen = next((each for each in contexts if each["name"] == context), current)
    return KubernetesCluster(client), chosen["context"].get("namespace", "default")


def connect_inside() -> KubernetesCluster:
    """The cluster this process runs in, in the name of its pod's ServiceAccount."""
    from kubernetes import config
    from kubernetes.client import ApiClient

    config.load_incluster_config()
    return KubernetesCluster(ApiClient())


def stored(cluster: Cluster, kind: str, namespace: str, name: str) -> Object | None:
    """A FineTuneJob or InferenceEndpoint."""
    return cluster.get(API_VERSION, kind, namespace, name)
