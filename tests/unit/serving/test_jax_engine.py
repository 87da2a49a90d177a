"""The JAX engine against Keras, and what it asks of a machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from graftwork.errors import SpecError
from graftwork_serving import jax_engine
from graftwork_serving.jax_engine import check_engine

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """What `jax_engine_run.py` found."""
    pytest.importorskip("jax", reason="needs the extra jax")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}  # noqa: TID251 (handed on)
    command = [sys.executable, "-m", "tests.unit.serving.jax_engine_run"]
    answer = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_scores_are_keras_whatever_the_shape(runs: dict[str, Any], kind: str) -> None:
    """Batches of any size, texts of any length."""
    assert runs[kind]["difference"] < 1e-5


@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_no_request_waits_for_the_compiler(runs: dict[str, Any], kind: str) -> None:
    """All programs are made while the model is loaded."""
    assert runs[kind]["compiled_later"] == 0


def test_layers_of_keras_hub_need_no_tensorflow(runs: dict[str, Any]) -> None:
    """KerasHub would load it where it is installed, and make every replica larger by half a gigabyte."""
    assert runs["keras_hub_layers"]["difference"] < 1e-5
    assert runs["keras_hub_layers"]["loaded"] == []


def test_in_bfloat16_scores_are_near_and_still_exact_in_themselves(runs: dict[str, Any]) -> None:
    """Pixels are scaled in float32, the last layer answers in it, what lies between computes in bfloat16."""
    found = runs["bfloat16"]
    assert 1e-5 < found["difference"] < 0.05
    assert found["sum_error"] < 1e-5
    assert found["weights"] == ["float32"]
    assert dict(found["dtypes"]) == {
        "input_layer": "float32",
        "rescaling": "float32",
        "conv2d": "bfloat16",
        "flatten": "bfloat16",
        "dense": "float32",
    }


def test_a_gpu_that_is_not_there_is_missed(runs: dict[str, Any]) -> None:
    """Rather than computing on CPU without a word."""
    assert runs["no_gpu"].startswith("PermanentError: JAX sees no GPU")


def test_gpus_are_asked_of_a_machine_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Ray is started."""
    monkeypatch.setattr(jax_engine, "nvidia_gpus", lambda: ())
    with pytest.raises(
        SpecError, match=r"spec\.resources\.gpus: received 0\.5, on a machine where nvidia-smi shows no"
    ):
        check_engine("jax", 0.5)
    monkeypatch.setattr(jax_engine, "nvidia_gpus", lambda: ("NVIDIA H100, 81559 MiB",))
    check_engine("openvino", 0)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax" else object())
    with pytest.raises(SpecError, match=r"without the package jax.*graftwork\[serve-gpu\]"):
        check_engine("jax", 0)
    check_engine("openvino", 0)
