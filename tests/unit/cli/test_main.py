from __future__ import annotations

import errno
import json
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from graftwork.cli.main import COMMANDS, LazyCommand, cli
from graftwork.cli.options import output_option
from graftwork.errors import PermanentError, Problem, SpecError


@contextmanager
def command_that(action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    @click.command("try")
    @output_option
    def command(output: str) -> None:
        action()

    module = types.ModuleType("try_command")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "try_command", module)
    monkeypatch.setitem(COMMANDS, "try", LazyCommand(module="try_command", help="Try."))
    yield


def run_raising(error: BaseException, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    def action() -> None:
        raise error

    with command_that(action, monkeypatch):
        return CliRunner().invoke(cli, arguments or ["try"])


_PROBLEM = Problem(where="spec.x", received="1", expected="2", fix="Write 2.", file="a.yaml", line=3)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (SpecError(_PROBLEM), 2, "a.yaml:3: spec.x: received 1, expected 2. Write 2."),
        (PermanentError("It broke."), 1, "It broke."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (click.Abort(), 130, "Interrupted."),
        (ModuleNotFoundError("no", name="tensorflow.keras"), 1, "pip install 'graftwork[train]'"),
        (ModuleNotFoundError("no", name="openvino"), 1, "pip install 'graftwork[all]'"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "/data/x: No space left on device. Free some"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "/x: Permission denied. Change its permissions"),
        (click.UsageError("Bad option."), 2, "Bad option."),
    ],
)
def test_errors_become_sentences_and_exit_codes(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error ends as one message on stderr, without a traceback, and the right exit code."""
    result = run_raising(error, monkeypatch)
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """An unexpected error says where its traceback is, for a report."""
    result = run_raising(ZeroDivisionError("oh"), monkeypatch)
    assert result.exit_code == 1
    assert str(home / "last-error.txt") in result.stderr
    assert "ZeroDivisionError: oh" in (home / "last-error.txt").read_text()


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """`graft --debug` prints the traceback of an expected error too."""
    result = run_raising(PermanentError("It broke."), monkeypatch, "--debug", "try")
    assert "Traceback" in result.stderr


def test_errors_are_json_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `-o json`, stdout holds the error and all its problems as one JSON document."""
    result = run_raising(SpecError(_PROBLEM), monkeypatch, "try", "-o", "json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "SpecError"
    assert error["problems"] == [_PROBLEM.as_dict()]


def test_unknown_command_suggests_a_near_one() -> None:
    """A mistyped command finds the one that was meant; anything else lists all."""
    near = CliRunner().invoke(cli, ["valdate"])
    assert near.exit_code == 2
    assert "Did you mean `validate`?" in near.stderr
    far = CliRunner().invoke(cli, ["xyzzy"])
    assert "validate, plan, run" in far.stderr


def test_help_lists_every_command_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`graft --help` works although no command can be imported."""
    for name, entry in COMMANDS.items():
        monkeypatch.setitem(COMMANDS, name, LazyCommand(module="no.such.module", help=entry.help))
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert all(entry.help in result.stdout for entry in COMMANDS.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str) -> None:
    """Each command imports, explains itself, and takes `-o` unless all it prints is JSON or a group of commands."""
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert leaf.help
        assert name == "schema" or "--output" in {option for each in leaf.params for option in each.opts}
