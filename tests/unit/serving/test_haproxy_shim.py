from __future__ import annotations

from pathlib import Path

import pytest

from graftwork_serving.haproxy_shim import without_open_ports


def test_ports_open_to_everyone_are_taken_out_of_rays_own_template() -> None:
    """Of the configuration Ray Serve really renders, no listener on all interfaces is left, and the rest stays."""
    templates = pytest.importorskip("ray.serve._private.haproxy_templates")
    before = templates.HAPROXY_CONFIG_TEMPLATE
    after = without_open_ports(before)
    assert "bind :{{ config.metrics_port }}" in before
    assert "bind *:{{ config.stats_port }}" in before
    binds = [line.strip() for line in after.splitlines() if line.strip().startswith("bind ")]
    assert binds
    assert all("_host }}" in line for line in binds)
    assert "frontend http_frontend" in after
    assert "stats socket" in after


def test_sections_beside_an_unwanted_one_stay(tmp_path: Path) -> None:
    """Only the named sections go, with their comments and blank lines inside."""
    text = "global\n  a\nlisten stats\n  bind *:8404\n\n  # why\n  stats enable\nbackend x\n  server y\n"
    assert without_open_ports(text) == "global\n  a\nbackend x\n  server y\n"
