"""The cluster's API from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from graftwork.controller.cluster import connect
from graftwork.errors import PermanentError


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
