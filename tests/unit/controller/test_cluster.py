"""The cluster's API from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graftwork.controller.cluster import _error_of, connect
from graftwork.errors import PermanentError, TransientError


def test_without_a_kubeconfig_this_machine_is_pointed_to(tmp_path: Path) -> None:
    """`graft stop` and `graft logs` are for clusters; who has none looks for something else."""
    with pytest.raises(PermanentError, match=r"There is no kubeconfig.*`graft jobs` and `graft endpoints`"):
        connect(str(tmp_path / "none"))


def test_a_broken_kubeconfig_is_not_taken_for_none(tmp_path: Path) -> None:
    """What is wrong with it is said."""
    file = tmp_path / "config"
    file.write_text("{}")
    with pytest.raises(PermanentError, match="Invalid kube-config file"):
        connect(str(file))


def test_what_is_no_kubeconfig_at_all_is_said(tmp_path: Path) -> None:
    """As any other wrong one."""
    file = tmp_path / "config"
    file.write_text(":::{")
    with pytest.raises(PermanentError, match="Set KUBECONFIG"):
        connect(str(file))


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        (
            "failed to create typed patch object (x; ray.io/v1): .spec.authOptions: field not declared in schema",
            "KubeRay",
        ),
        ("failed to create typed patch object (x; ray.io/v1): duplicate entries for key", "duplicate"),
    ],
)
def test_what_does_not_fit_its_kind_is_not_tried_for_ever(message: str, fix: str) -> None:
    """Server-side apply says so with 500, as of an error of its own."""
    error = _error_of(500, json.dumps({"message": message}).encode(), "PATCH x")
    assert isinstance(error, PermanentError)
    assert fix in str(error)
    assert isinstance(_error_of(500, b'{"message": "etcd is gone"}', "PATCH x"), TransientError)


def test_a_namespace_that_is_missing_is_said() -> None:
    """With what to do; it is still no object."""
    error = _error_of(404, b'{"message": "namespaces \\"team\\" not found"}', "POST x")
    assert "Create it" in str(error)
