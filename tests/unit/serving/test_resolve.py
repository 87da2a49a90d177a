"""From the models of an endpoint's file to bundles."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from graftwork.errors import SpecError
from graftwork.registry import Registry
from graftwork.settings import Settings
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.traffic import name_of_bundle
from graftwork_serving.resolve import resolve_models
from tests.support.small_bundles import make_small_bundle
from tests.unit.spec.examples import ENDPOINT, changed


def test_all_models_that_are_not_there_are_named_with_their_places(tmp_path: Path) -> None:
    """One word to each, so that one look at the file mends them all."""
    good = make_small_bundle(tmp_path / "good").path
    models = [{"model": "rose"}, {"model": str(good)}, {"model": "nope@champion"}, {"model": str(tmp_path / "none")}]
    endpoint = InferenceEndpoint.model_validate(changed(ENDPOINT, ("spec", "models"), models))
    with pytest.raises(SpecError) as caught:
        resolve_models(endpoint, base_dir=tmp_path, settings=Settings.at(tmp_path / "home"))
    places = [problem.where.partition(":")[0] for problem in caught.value.problems]
    assert places == [f"spec.models[{number}].model" for number in (0, 2, 3)]
    first, second, third = map(str, caught.value.problems)
    assert "the model name 'rose'" in first
    assert "the model name 'nope'" in second
    assert "no such directory" in third


@pytest.mark.parametrize("are_same", [True, False])
def test_two_models_of_one_name_have_different_versions(tmp_path: Path, *, are_same: bool) -> None:
    """Else requests for a version reach one of them, and figures add them up; one version under two aliases may be."""
    registry = Registry(Settings.at(tmp_path / "home"))
    for number, name in enumerate(("rose", "tulip")):
        bundle = make_small_bundle(tmp_path / name, seed=0 if are_same else number)
        registry.register(bundle, name, "champion")
    models = [
        {"model": "rose@champion", "name": "m", "traffic": 90},
        {"model": "tulip@champion", "name": "m", "traffic": 10},
    ]
    endpoint = InferenceEndpoint.model_validate(changed(ENDPOINT, ("spec", "models"), models))

    def resolved() -> list[str]:
        found = resolve_models(endpoint, base_dir=tmp_path, settings=Settings.at(tmp_path / "home"))
        return [model.version for model in found]

    if are_same:
        assert resolved() == ["1", "1"]
        return
    with pytest.raises(SpecError) as caught:
        resolved()
    (problem,) = caught.value.problems
    assert problem.where == "spec.models[1]"
    assert "`tulip@champion` as version 1 of `m`" in problem.received


def test_a_bundle_folder_at_the_root_has_a_name() -> None:
    """As it is mounted into a container."""
    assert name_of_bundle(PurePath("/runs/flowers-1/bundle")) == "flowers-1"
    assert name_of_bundle(PurePath("/bundle")) == "bundle"
    assert name_of_bundle(PurePath("/models/flowers")) == "flowers"
