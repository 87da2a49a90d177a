"""From an endpoint's `kubernetes.expose` to the Ingress or HTTPRoute that leads to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from graftwork.spec.placement import Exposure, GatewayRoute, IngressRoute

GATEWAY_API: Final = "gateway.networking.k8s.io/v1"
INGRESS_API: Final = "networking.k8s.io/v1"


def route(exposure: Exposure, *, metadata: Mapping[str, Any], service: str, port: int) -> dict[str, Any]:
    """The object that leads from a host to a Service.

    Args:
        exposure: from where.
        metadata: of the object.
        service: where to.
        port: where to.
    """
    if exposure.gateway is not None:
        return _http_route(exposure.host, exposure.gateway, metadata, service, port)
    return _ingress(exposure.host, exposure.ingress or IngressRoute(), metadata, service, port)


def url(exposure: Exposure) -> str:
    """Where the endpoint is reached from outside; a Gateway's listeners are taken to have TLS."""
    plain = exposure.ingress is not None and exposure.ingress.tls_secret is None
    return f"{'http' if plain else 'https'}://{exposure.host}"


def _ingress(host: str, ingress: IngressRoute, metadata: Mapping[str, Any], service: str, port: int) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"number": port}}}
    spec: dict[str, Any] = {
        "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    }
    if ingress.class_name is not None:
        spec["ingressClassName"] = ingress.class_name
    if ingress.tls_secret is not None:
        spec["tls"] = [{"hosts": [host], "secretName": ingress.tls_secret}]
    annotations = {"annotations": dict(ingress.annotations)} if ingress.annotations else {}
    return {"apiVersion": INGRESS_API, "kind": "Ingress", "metadata": {**metadata, **annotations}, "spec": spec}


def _http_route(
    host: str, gateway: GatewayRoute, metadata: Mapping[str, Any], service: str, port: int
) -> dict[str, Any]:
    parent: dict[str, Any] = {"name": gateway.name}
    if gateway.namespace is not None:
        parent["namespace"] = gateway.namespace
    if gateway.listener is not None:
        parent["sectionName"] = gateway.listener
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"name": service, "port": port}],
    }
    return {
        "apiVersion": GATEWAY_API,
        "kind": "HTTPRoute",
        "metadata": dict(metadata),
        "spec": {"parentRefs": [parent], "hostnames": [host], "rules": [rule]},
    }
