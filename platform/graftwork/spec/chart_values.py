"""The Helm chart's values: what may be set, what it is by default and what it means.

`python -m graftwork.spec.chart_values` writes the chart's `values.yaml` and `values.schema.json`; a test compares them
with the models. Helm checks values against the schema before it renders or lints anything.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import yaml
from pydantic import BaseModel, Field

from graftwork.spec.amounts import Duration, Memory
from graftwork.spec.base import LabelValue, SpecModel
from graftwork.spec.crd import CHART_DIR
from graftwork.spec.schema import schema_text, tidy

_WIDTH: Final = 120
_DIALECT: Final = "http://json-schema.org/draft-07/schema#"
# Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_NAME: Final = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"

ObjectName = Annotated[str, Field(max_length=253, pattern=f"^{_NAME}$")]
"""Name of an object."""
ObjectNameOrNone = Annotated[str, Field(max_length=253, pattern=f"^({_NAME})?$")]
"""Name of an object; empty for none."""
ObjectNames = Annotated[list[ObjectName], Field(json_schema_extra={"uniqueItems": True})]
"""Names of objects, each once."""
Quantity = Annotated[str, Field(pattern=_QUANTITY)] | Annotated[int, Field(ge=0)]
"""An amount as Kubernetes writes it, such as `100m` or `512Mi`."""


class _Values(SpecModel):
    """A section of the values.

    Attributes:
        in_one_line: whether `values.yaml` shows it in one line, without comments on its keys.
    """

    in_one_line: ClassVar[bool] = False


class Image(_Values):
    """An image."""

    in_one_line = True
    repository: Annotated[str, Field(min_length=1)]
    """Registry and name."""
    tag: str = ""
    """Tag. Empty: the chart's version of Graftwork."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes fetch it."""


class PodImage(_Values):
    """An image of the pods that the operator makes; a spec says more of them."""

    in_one_line = True
    repository: Annotated[str, Field(min_length=1)]
    """Registry and name."""
    tag: str = ""
    """Tag. Empty: the chart's version of Graftwork."""


class Images(_Values):
    """All images."""

    operator: Image = Image(repository="graftwork-operator")
    """The operator."""
    train: PodImage = PodImage(repository="graftwork-train")
    """Jobs."""
    serve: PodImage = PodImage(repository="graftwork-serve")
    """Endpoints."""
    registry: Image = Image(repository="graftwork-registry")
    """The MLflow server."""


class Crds(_Values):
    """The CustomResourceDefinitions."""

    in_one_line = True
    install: bool = True
    """Whether the chart installs and upgrades them."""


class Resources(_Values):
    """What a container asks for, and what it may have."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    """What a node must have free for it."""
    limits: dict[str, Quantity] = Field(default_factory=dict)
    """The most it may use."""


class Volume(_Values):
    """A PersistentVolumeClaim."""

    in_one_line = True
    size: Memory = "20Gi"
    """How much it holds."""
    storage_class: ObjectNameOrNone = ""
    """StorageClass. Empty: the cluster's default."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"] = "ReadWriteOnce"
    """From where it can be mounted."""


class MlflowServer(_Values):
    """An MLflow server of the release's own."""

    enabled: bool = False
    """Whether there is one."""
    database_secret: ObjectNameOrNone = ""
    """Secret whose entry `uri` names the database, such as postgresql://USER:PASSWORD@HOST/NAME. Empty: SQLite on the
    volume."""
    artifacts: Annotated[str, Field(pattern=r"^([a-z0-9]+://.+)?$")] = ""
    """Where bundles are kept, such as s3://BUCKET/FOLDER. Empty: on the volume. Pods reach them through the server and
    need no credentials of the storage."""
    env_from: ObjectNames = Field(default_factory=list)
    """Secrets that the server gets as environment variables: credentials of the storage."""
    hosts: Annotated[list[Annotated[str, Field(min_length=1)]], Field(json_schema_extra={"uniqueItems": True})] = Field(
        default_factory=list
    )
    """Further names that the server is called by, such as that of an Ingress; it refuses requests for any other."""
    volume: Volume = Volume()
    """Its volume."""
    resources: Resources = Resources(requests={"cpu": "100m", "memory": "512Mi"}, limits={"memory": "2Gi"})
    """What the server asks for, and what it may have."""


class Mlflow(_Values):
    """Where the model registry is."""

    tracking_uri: Annotated[str, Field(pattern="^(https?://[^/@]+(/.*)?)?$")] = ""
    """A server there is, without credentials: these go into `podSecrets` (MLFLOW_TRACKING_USERNAME and _PASSWORD).
    Empty: the one below, if it is enabled."""
    server: MlflowServer = MlflowServer()
    """A server of this release's own. Its volume outlives `helm uninstall`."""


class Toleration(_Values):
    """A taint that the pods put up with, as in a pod's own specification."""

    key: str | None = None
    """Key of the taint. Default: any."""
    operator: Literal["Exists", "Equal"] | None = None
    """`Exists` looks at the key only, `Equal` (the default) at the value too."""
    value: str | None = None
    """Value of the taint, with `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Default: any."""
    toleration_seconds: int | None = None
    """How long pods stay on a node that gets the taint (`NoExecute`). Default: for ever."""


class ServiceAccount(_Values):
    """The operator's ServiceAccount."""

    in_one_line = True
    annotations: dict[str, str] = Field(default_factory=dict)
    """Its annotations."""


class Metrics(_Values):
    """What is made of metrics."""

    monitors: bool = False
    """A ServiceMonitor for the operator and a PodMonitor for the pods of jobs and endpoints (Prometheus operator)."""
    alerts: bool = False
    """Alert rules (Prometheus operator), for a Prometheus that reads the operator's metrics: with `monitors`, or by
    other means. Where it does not, the alert that nobody leads fires."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of monitors and alert rules by which a Prometheus finds them, such as `release: kube-prometheus-stack`."""
    dashboards: bool = False
    """Dashboards of endpoints and operator, as ConfigMaps that Grafana's sidecar takes up."""


class Switch(_Values):
    """Something that is there or not."""

    in_one_line = True
    enabled: bool = True
    """Whether it is there."""


class SmokeTest(_Values):
    """What `helm test` does."""

    in_one_line = True
    timeout: Duration = "30m"
    """How long its job and endpoint may take together."""


class ChartValues(_Values):
    """Values of the Helm chart of Graftwork."""

    images: Images = Images()
    """Images. The operator's is small; those of jobs and endpoints are defaults, which `kubernetes.image` in a spec
    overrides."""
    image_pull_secrets: ObjectNames = Field(default_factory=list)
    """Secrets with credentials for the operator's registry."""
    pod_image_pull_secrets: ObjectNames = Field(default_factory=list)
    """Secrets with credentials for the images of all jobs and endpoints, in their own namespaces."""
    namespaces: ObjectNames = Field(default_factory=list)
    """Namespaces the operator looks at. Empty: all of them, with a ClusterRole; otherwise a Role in each, and none
    beyond."""
    replicas: Annotated[int, Field(ge=1, le=5)] = 2
    """Operators. One acts, the others wait to take over."""
    crds: Crds = Crds()
    """Whether the chart installs and upgrades the CustomResourceDefinitions. They stay when the release is uninstalled,
    and with them all jobs and endpoints."""
    aggregate_roles: bool = True
    """Whether who may view or edit what is in a namespace (the ClusterRoles view, edit and admin) may do the same with
    jobs and endpoints there. Whoever may create these may do in the namespace what may be done with pods."""
    mlflow: Mlflow = Mlflow()
    """The MLflow server with the model registry. Endpoints name models in it; without one they can only serve bundle
    paths."""
    pod_secrets: ObjectNames = Field(default_factory=list)
    """Secrets that the pods of all jobs and endpoints get as environment variables, where their namespace has them:
    storage credentials, MLflow tokens."""
    resources: Resources = Resources(requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "512Mi"})
    """What the operator asks for, and what it may have."""
    node_selector: dict[str, LabelValue] = Field(default_factory=dict)
    """Labels that the nodes of operator and MLflow server must have."""
    tolerations: list[Toleration] = Field(default_factory=list)
    """Taints of nodes that the pods of operator and MLflow server put up with."""
    priority_class_name: ObjectNameOrNone = ""
    """PriorityClass of the operator. Empty: none."""
    service_account: ServiceAccount = ServiceAccount()
    """Annotations of the operator's ServiceAccount."""
    metrics: Metrics = Metrics()
    """Metrics of the operator, on port 9090."""
    network_policy: Switch = Switch()
    """Who reaches the operator: only what scrapes its metrics, from any namespace."""
    pod_disruption_budget: Switch = Switch()
    """A node that is emptied takes one operator at a time."""
    smoke_test: SmokeTest = SmokeTest()
    """How long the job and the endpoint that `helm test` tries may take together."""


def values_schema() -> dict[str, Any]:
    """What Helm checks values against."""
    schema: dict[str, Any] = tidy(ChartValues.model_json_schema(by_alias=True))
    # Helm gives every chart what a chart above it shares with all charts below.
    schema["properties"] = {"global": {"type": "object"}, **schema["properties"]}
    return {"$schema": _DIALECT, **schema}


def values_yaml() -> str:
    """The chart's default values, each with what it means."""
    return "\n".join(["# Generated: python -m graftwork.spec.chart_values", *_lines(ChartValues(), 0)]) + "\n"


def chart_files() -> dict[str, str]:
    """Name and text of the files of the chart that are made here."""
    return {"values.yaml": values_yaml(), "values.schema.json": schema_text(values_schema())}


def write_chart_files(folder: Path) -> None:
    """Bring the chart's files up to date."""
    for name, text in chart_files().items():
        (folder / name).write_text(text)


def _lines(values: _Values, depth: int) -> Iterator[str]:
    margin = "  " * depth
    for name, info in type(values).model_fields.items():
        key, value = info.alias or name, getattr(values, name)
        if depth == 0:
            yield ""
        yield from textwrap.wrap(
            " ".join((info.description or "").split()),
            width=_WIDTH,
            initial_indent=f"{margin}# ",
            subsequent_indent=f"{margin}# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        if isinstance(value, _Values) and not value.in_one_line:
            yield f"{margin}{key}:"
            yield from _lines(value, depth + 1)
        else:
            yield f"{margin}{key}: {_in_one_line(value)}"


def _in_one_line(value: Any) -> str:
    plain = value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10 * _WIDTH)
    return text.removesuffix("...\n").strip().replace("''", '""')


if __name__ == "__main__":
    write_chart_files(CHART_DIR)
