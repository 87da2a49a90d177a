"""How an endpoint in the background is told its models; what it then does is the integration tests' business."""

from __future__ import annotations

import io
from pathlib import Path

import psutil
import pytest

from graftwork.errors import PermanentError, SpecError
from graftwork.progress import SilentReporter
from graftwork.settings import Settings
from graftwork_serving import background
from graftwork_serving.background import models_from, serve_in_background
from graftwork_serving.resolve import resolve_models
from graftwork_serving.spec_file import EndpointFile, load_endpoint
from tests.support.small_bundles import make_small_bundle


def endpoint_file(folder: Path, model: Path) -> EndpointFile:
    file = folder / "endpoint.yaml"
    file.write_text(
        "apiVersion: graftwork.dev/v1alpha1\nkind: InferenceEndpoint\nmetadata: {name: e}\n"
        f"spec: {{models: [{{model: {model}}}], http: {{port: 18937}}}}\n"
    )
    return load_endpoint(file)


def keep_what_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of an endpoint, start a process that writes to a file what it is told, and ends."""
    told = folder / "told.json"
    command = f"import os, sys; open({str(told)!r}, 'w').write(sys.stdin.read()); print('the end', os.getpid())"
    monkeypatch.setattr(background, "_COMMAND", command)
    return told


def serve(loaded: EndpointFile, settings: Settings) -> None:
    serve_in_background(loaded, settings=settings, reporter=SilentReporter())


def test_its_process_is_told_the_models_that_were_found(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is known of each, so that it need not look for them itself; and if it ends, its log says why."""
    loaded = endpoint_file(tmp_path, make_small_bundle(tmp_path / "bundle").path)
    told = keep_what_is_told(tmp_path, monkeypatch)
    with pytest.raises(PermanentError, match="could not start:\nthe end"):
        serve(loaded, settings)
    found = resolve_models(loaded.endpoint, base_dir=tmp_path, settings=settings)
    assert models_from(io.BytesIO(told.read_bytes())) == found


def test_a_model_that_is_not_there_ends_it(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the one that `graft serve` gives, with its place in the spec, and no process is left."""
    told = keep_what_is_told(tmp_path, monkeypatch)
    before = set(psutil.Process().children())  # other tests of this process may have left theirs
    with pytest.raises(SpecError, match="no such directory"):
        serve(endpoint_file(tmp_path, tmp_path / "nowhere"), settings)
    assert not told.exists() or told.read_text() == ""
    assert set(psutil.Process().children()) <= before


def test_a_command_that_ends_first_is_named() -> None:
    """The endpoint's log says why it ended."""
    with pytest.raises(PermanentError, match="ended before it had found the models"):
        models_from(io.BytesIO())
