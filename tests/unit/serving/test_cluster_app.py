from __future__ import annotations

from pathlib import Path

from graftwork.settings import Settings
from graftwork_serving.cluster_app import resolved_config
from tests.support.small_bundles import make_small_bundle
from tests.unit.spec.examples import ENDPOINT, changed


def test_aliases_become_what_the_operator_says(tmp_path: Path, settings: Settings) -> None:
    """A replica serves the version it is told, under the name of the spec, not what the alias stands for by then."""
    bundle = make_small_bundle(tmp_path / "bundle")
    endpoint = changed(ENDPOINT, ("spec", "models"), [{"model": "flowers@champion", "name": "flowers"}])
    told = {"endpoint": endpoint, "resolved": {"flowers@champion": str(bundle.path)}}
    config = resolved_config(told, settings)
    (model,) = config["models"]
    assert (model["name"], model["path"], model["alias"]) == ("flowers", str(bundle.path), "champion")
    assert config["endpoint"] == "flowers"
