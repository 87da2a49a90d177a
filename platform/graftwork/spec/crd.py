"""CustomResourceDefinitions of both kinds, made from the models: what the API server checks and `kubectl get` shows.

`python -m graftwork.spec.crd` writes the copies that the Helm chart installs; a test compares them with the models.
A CRD's schema is "structural": no references, one type a place, alternatives without types of their own.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from graftwork.spec.base import API_VERSION
from graftwork.spec.crd_rules import ROOT_RULES, SINGLE_KEY, rules_of
from graftwork.spec.load import KINDS
from graftwork.spec.status import EndpointStatus, JobStatus

GROUP, VERSION = API_VERSION.split("/")
CHART_DIR: Final = Path(__file__).parents[3] / "helm" / "graftwork"
# The API server bounds the cost of CEL by the most a list or text may hold; far beyond what a spec needs.
_MOST_ENTRIES = 64
_MOST_CHARACTERS = 2048

# Keywords of a value that mean the same in a CRD.
_SAME = ("enum", "format", "maxLength", "minLength", "pattern")
# Nothing but a value of one type passes these: they keep the alternatives of a place apart, which has no type.
_NO_TEXT: dict[str, Any] = {"minLength": 1, "maxLength": 0}
_NO_OBJECT: dict[str, Any] = {"minProperties": 1, "maxProperties": 0}
_NO_LIST: dict[str, Any] = {"minItems": 1, "maxItems": 0}
_NO_BOOLEAN: dict[str, Any] = {"not": {"enum": [True, False]}}


@dataclass(frozen=True, kw_only=True)
class Resource:
    """How a kind appears in the API.

    Attributes:
        plural: name in URLs and `kubectl get`.
        short: abbreviations.
        status: model of its status.
        columns: what `kubectl get` prints: name, type, JSON path.
        selectable: paths that `kubectl get --field-selector` takes; from Kubernetes 1.31.
        scale: paths of replicas for `kubectl scale` and autoscalers; None without.
    """

    plural: str
    short: tuple[str, ...]
    status: type[BaseModel]
    columns: tuple[tuple[str, str, str], ...]
    selectable: tuple[str, ...]
    scale: dict[str, str] | None = None


RESOURCES: dict[str, Resource] = {
    "FineTuneJob": Resource(
        plural="finetunejobs",
        short=("ftj",),
        status=JobStatus,
        columns=(
            ("Phase", "string", ".status.phase"),
            ("Progress", "string", ".status.progress"),
            ("Accuracy", "string", ".status.accuracy"),
            ("Model", "string", ".status.model"),
            ("Age", "date", ".metadata.creationTimestamp"),
        ),
        selectable=(".spec.register.model", ".spec.kubernetes.suspend", ".status.phase"),
    ),
    "InferenceEndpoint": Resource(
        plural="inferenceendpoints",
        short=("iep",),
        status=EndpointStatus,
        columns=(
            ("Phase", "string", ".status.phase"),
            ("Model", "string", ".status.model"),
            ("Replicas", "integer", ".status.replicas"),
            ("URL", "string", ".status.url"),
            ("Age", "date", ".metadata.creationTimestamp"),
        ),
        selectable=(".status.phase",),
        scale={
            "specReplicasPath": ".spec.autoscaling.minReplicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    ),
}


def crd_of(kind: str) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    resource = RESOURCES[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # Uninstalling the chart must not take all jobs and endpoints with it.
        "metadata": {
            "name": f"{resource.plural}.{GROUP}",
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": resource.plural,
                "singular": kind.lower(),
                "shortNames": list(resource.short),
                "categories": ["graftwork", "all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _root_schema(kind, resource)},
                    "subresources": {"status": {}, **({"scale": resource.scale} if resource.scale else {})},
                    "selectableFields": [{"jsonPath": path} for path in resource.selectable],
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path} for name, type_, path in resource.columns
                    ],
                }
            ],
        },
    }


def crd_files() -> dict[str, str]:
    """Name and text of every CRD file of the chart."""
    return {f"{kind.lower()}.yaml": _yaml(crd_of(kind)) for kind in KINDS}


def write_crd_files(folder: Path) -> None:
    """Bring the chart's copies up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in crd_files().items():
        (folder / name).write_text(text)


def crd_folder() -> Path:
    """Where the chart keeps the CRDs."""
    return CHART_DIR / "files" / "crds"


def _yaml(content: Any) -> str:
    return "# Generated: python -m graftwork.spec.crd\n" + yaml.safe_dump(content, sort_keys=False, width=120)


def _root_schema(kind: str, resource: Resource) -> dict[str, Any]:
    model = KINDS[kind]
    spec = model.model_fields["spec"].annotation
    if not (isinstance(spec, type) and issubclass(spec, BaseModel)):
        raise TypeError(f"{kind}.spec is no model")
    return {
        "type": "object",
        "description": model.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _Translation(spec).root(),
            "status": _Translation(resource.status).root(),
        },
        "x-kubernetes-validations": [rule.as_dict() for rule in ROOT_RULES[kind]],
    }


class _Translation:
    """One model's JSON Schema, said as a structural schema.

    Args:
        model: the model.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._schema = model.model_json_schema(by_alias=True)
        self._models = _models_below(model)

    def root(self) -> dict[str, Any]:
        return self._value(self._schema, self._model)

    def _value(self, schema: Mapping[str, Any], model: type[BaseModel] | None = None) -> dict[str, Any]:
        """A place that takes one value."""
        schema, model = self._resolved(schema, model)
        options = [option for option in schema.get("anyOf", schema.get("oneOf", ())) if option.get("type") != "null"]
        if len(options) == 1:
            outer = {key: value for key, value in schema.items() if key not in {"anyOf", "oneOf"}}
            return self._value({**options[0], **outer}, model)
        if options:
            return self._described(schema, self._alternatives(options))
        match schema.get("type"):
            case "object":
                return self._described(schema, self._mapping(schema, model))
            case "array":
                return self._described(schema, self._list(schema))
            case "string" | "integer" | "number" | "boolean":
                return self._described(schema, self._scalar(schema))
            case None if "const" in schema or "enum" in schema:
                return self._described(schema, self._scalar({"type": "string", **schema}))
            case None:
                return self._described(schema, {"x-kubernetes-preserve-unknown-fields": True})
            case other:
                raise TypeError(f"{self._model.__name__}: no structural schema for the type {other}")

    def _described(self, schema: Mapping[str, Any], translated: dict[str, Any]) -> dict[str, Any]:
        found = {}
        if "description" in schema:
            found["description"] = schema["description"]
        found |= translated
        default = _without_none(schema.get("default"))
        if default is not None:
            found["default"] = default
        return found

    def _resolved(
        self, schema: Mapping[str, Any], model: type[BaseModel] | None
    ) -> tuple[Mapping[str, Any], type[BaseModel] | None]:
        while "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            model = self._models.get(name, model)
            outer = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**self._schema["$defs"][name], **outer}
        return schema, model

    def _mapping(self, schema: Mapping[str, Any], model: type[BaseModel] | None) -> dict[str, Any]:
        extra = schema.get("additionalProperties")
        if "properties" not in schema:
            values = (
                self._value(extra) if isinstance(extra, Mapping) else {"x-kubernetes-preserve-unknown-fields": True}
            )
            bounds = {"minProperties": schema["minProperties"]} if "minProperties" in schema else {}
            return {"type": "object", "additionalProperties": values, "maxProperties": _MOST_ENTRIES, **bounds}
        found: dict[str, Any] = {"type": "object"}
        if schema.get("required"):
            found["required"] = list(schema["required"])
        found["properties"] = {key: self._value(child) for key, child in schema["properties"].items()}
        if model is not None and (rules := rules_of(model)):
            found["x-kubernetes-validations"] = [rule.as_dict() for rule in rules]
        return found

    def _list(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        entries, _ = self._resolved(schema.get("items", {}), None)
        found = {"type": "array", "items": self._value(schema.get("items", {})), "maxItems": _MOST_ENTRIES}
        found |= {key: schema[key] for key in ("minItems", "maxItems") if key in schema}
        # Entries with a name of their own: the name occurs once, and several writers may each own some of them.
        key = "type" if self._is_condition(entries) else "name"
        if key in entries.get("required", ()):
            found |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
        return found

    def _is_condition(self, entries: Mapping[str, Any]) -> bool:
        return {"type", "status", "reason"} <= set(entries.get("properties", {}))

    def _scalar(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if "const" in schema:
            schema = {**schema, "enum": [schema["const"]]}
        found = {
            "type": schema["type"],
            **{key: schema[key] for key in _SAME if key in schema},
        }
        if schema["type"] == "string" and "enum" not in schema and "format" not in schema:
            found.setdefault("maxLength", _MOST_CHARACTERS)
        if schema["type"] == "integer":
            found.setdefault("format", "int64")
        return found | _bounds(schema)

    def _alternatives(self, options: list[Any]) -> dict[str, Any]:
        """A place that takes values of several types: it has none of its own, and one alternative must hold."""
        return {
            "x-kubernetes-preserve-unknown-fields": True,
            "anyOf": [self._alternative(option) for option in options],
        }

    def _alternative(self, option: Mapping[str, Any]) -> dict[str, Any]:
        option, model = self._resolved(option, None)
        if "const" in option:
            return {"enum": [option["const"]]}
        if "enum" in option:
            return {"enum": list(option["enum"])}
        match option.get("type"):
            case "object":
                single = {"minProperties": 1, "maxProperties": 1} if model and model.__name__ in SINGLE_KEY else {}
                required = {"required": list(option["required"])} if option.get("required") else {}
                # A number passes every keyword of objects; the bound no number keeps refuses it.
                return {**_NO_TEXT, **_NO_LIST, **_NO_BOOLEAN, **_no_number(), **single, **required}
            case "number" | "integer":
                return {**_NO_TEXT, **_NO_LIST, **_NO_OBJECT, **_NO_BOOLEAN, **_bounds(option)}
            case "string":
                bounds = {key: option[key] for key in ("minLength", "maxLength", "pattern") if key in option}
                return {**_NO_LIST, **_NO_OBJECT, **_NO_BOOLEAN, **_no_number(), **bounds}
            case "array":
                bounds = {key: option[key] for key in ("minItems", "maxItems") if key in option}
                return {**_NO_TEXT, **_NO_OBJECT, **_NO_BOOLEAN, **_no_number(), **bounds}
            case other:
                raise TypeError(f"{self._model.__name__}: no structural alternative for the type {other}")


def _no_number() -> dict[str, Any]:
    return {"minimum": 1, "maximum": 0}


def _bounds(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds of a number; OpenAPI 3.0 says with a flag whether they are excluded."""
    found: dict[str, Any] = {key: schema[key] for key in ("minimum", "maximum") if key in schema}
    if "exclusiveMinimum" in schema:
        found |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if "exclusiveMaximum" in schema:
        found |= {"maximum": schema["exclusiveMaximum"], "exclusiveMaximum": True}
    return found


def _without_none(value: Any) -> Any:
    """A default as the API server may fill it in: what is left open stays out."""
    match value:
        case dict():
            return {key: _without_none(each) for key, each in value.items() if each is not None}
        case list():
            return [_without_none(each) for each in value]
        case _:
            return value


def _models_below(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """All models a model is made of, by class name."""
    found: dict[str, type[BaseModel]] = {}
    waiting: list[Any] = [model]
    while waiting:
        current = waiting.pop()
        if isinstance(current, type) and issubclass(current, BaseModel):
            if current.__name__ not in found:
                found[current.__name__] = current
                waiting += [field.annotation for field in current.model_fields.values()]
        else:
            waiting += list(getattr(current, "__args__", ()))
    return found


if __name__ == "__main__":
    write_crd_files(crd_folder())
