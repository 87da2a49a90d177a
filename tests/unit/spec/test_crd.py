from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from graftwork.errors import SpecError
from graftwork.spec.crd import RESOURCES, crd_files, crd_folder, crd_of
from graftwork.spec.crd_rules import RULES
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.load import KINDS, check_text
from tests.unit.spec.bad_specs import BAD_SPECS, ONLY_THE_OPERATOR_KNOWS


def _schemas(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for key, child in schema.get("properties", {}).items():
        yield from _schemas(child, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _schemas(schema[key], f"{path}[]")


def _root(kind: str) -> dict[str, Any]:
    root: dict[str, Any] = crd_of(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def test_committed_crds_are_those_of_the_models() -> None:
    """The chart's CRDs are what `python -m graftwork.spec.crd` writes."""
    assert {file.name: file.read_text() for file in crd_folder().glob("*.yaml")} == crd_files()


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_structural(kind: str) -> None:
    """Every place has one type or says that it takes several; none refers to another."""
    places = dict(_schemas(_root(kind), kind))
    assert len(places) > 40
    loose = "x-kubernetes-preserve-unknown-fields"
    assert [path for path, schema in places.items() if "type" not in schema and not schema.get(loose)] == []
    assert [path for path, schema in places.items() if "$ref" in schema or "oneOf" in schema] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_the_models_is_there(kind: str) -> None:
    """A field of a model is a property of the CRD, with its description."""
    spec = _root(kind)["properties"]["spec"]
    fields = {info.alias or name for name, info in _spec_model(kind).model_fields.items()}
    assert set(spec["properties"]) == fields
    assert [key for key, child in spec["properties"].items() if not child.get("description")] == []


def _spec_model(kind: str) -> Any:
    return KINDS[kind].model_fields["spec"].annotation


@pytest.mark.parametrize("kind", KINDS)
def test_columns_and_scale_point_at_fields(kind: str) -> None:
    """Whatever `kubectl get` and `kubectl scale` look at exists."""
    places = {path.removeprefix(kind) for path, _ in _schemas(_root(kind), kind)} | {".metadata.creationTimestamp"}
    resource = RESOURCES[kind]
    wanted = [path for _, _, path in resource.columns] + list((resource.scale or {}).values())
    assert [path for path in wanted if path not in places] == []


def test_rules_belong_to_models() -> None:
    """Every rule found its way into a CRD: no model was renamed under it."""
    text = "".join(crd_files().values())
    written = {
        rule["rule"]
        for kind in KINDS
        for _, schema in _schemas(_root(kind), kind)
        for rule in schema.get("x-kubernetes-validations", [])
    }
    assert {rule.rule for rules in RULES.values() for rule in rules} <= written
    assert text


@pytest.mark.parametrize("name", sorted(BAD_SPECS | ONLY_THE_OPERATOR_KNOWS))
def test_bad_specs_are_bad(name: str) -> None:
    """What the API server has to refuse, the models refuse, and name the field."""
    import yaml

    bad = (BAD_SPECS | ONLY_THE_OPERATOR_KNOWS)[name]
    loaded, problems = check_text(yaml.safe_dump(bad.content), file="bad.yaml", base_dir=crd_folder())
    assert loaded == []
    field = bad.names.split(".")[-1].split("[")[0]
    assert field in str(SpecError(problems)) or name == "splits of everything"


def test_models_of_both_kinds_are_covered() -> None:
    """The kinds that have CRDs are the kinds there are."""
    assert set(RESOURCES) == set(KINDS) == {FineTuneJob.__name__, InferenceEndpoint.__name__}
