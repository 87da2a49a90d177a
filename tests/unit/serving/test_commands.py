"""What `graft serve` and `graft endpoints` say of a running endpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from graftwork.cli.main import cli
from graftwork.endpoint_state import EndpointState, process_started_at, write_state
from graftwork.progress import SilentReporter
from graftwork.settings import load_settings
from graftwork_serving.commands import serve


class Told(SilentReporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def state(**changes: Any) -> EndpointState:
    return EndpointState(
        name="flowers",
        url="http://127.0.0.1:8000",
        pid=os.getpid(),
        process_started_at=process_started_at(os.getpid()),
        spec_file="e.yaml",
        models=["rose 1", "tulip 2"],
        ready=True,
        **changes,
    )


@pytest.mark.parametrize("asks_for_key", [True, False])
def test_the_first_request_that_is_shown_brings_a_key_where_one_is_asked_for(*, asks_for_key: bool) -> None:
    """Copied as it stands, it is answered."""
    told = Told()
    serve._announce(state(asks_for_key=asks_for_key), "text", told, stop=False)
    (curl,) = [line for line in told.lines if "curl" in line]
    assert ('-H "x-api-key: $GRAFT_API_KEY"' in curl) == asks_for_key
    assert any("export GRAFT_API_KEY" in line for line in told.lines) == asks_for_key


def test_an_endpoint_is_shown_in_words(home: Path) -> None:
    """Without fields that say nothing."""
    folder = load_settings().endpoints_dir
    assert folder.is_relative_to(home)
    write_state(folder, state(given_up=["rose 2: answers differ"]))
    said = CliRunner().invoke(cli, ["endpoints", "show", "flowers"]).stdout
    assert "state: ready\n" in said
    assert "models: rose 1, tulip 2\n" in said
    assert "not served: rose 2: answers differ\n" in said
    assert "process_started_at" not in said
    assert "last error" not in said
