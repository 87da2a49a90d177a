"""Nothing but a command's own output on its standard output."""

from __future__ import annotations

import logging

import pytest

from graftwork.ray_messages import log_ray_messages


def test_errors_of_ray_are_logged_and_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What Ray's own thread calls for each of them."""
    worker = pytest.importorskip("ray._private.worker")
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    log_ray_messages()
    with caplog.at_level(logging.INFO):
        worker.print_to_stdstream({"lines": ["A worker died"], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert capsys.readouterr() == ("", "")
    assert caplog.messages == ["A worker died"]
    assert "print_to_stdstream" in worker.listen_error_messages.__code__.co_names
