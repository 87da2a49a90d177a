"""`graft jobs`: what runs there are, how far they are, what they said, and how to end one."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import click

from graftwork.cli.console import console, format_duration, print_json, print_table
from graftwork.cli.options import Output, ask, output_option, yes_option
from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork.settings import Settings, load_settings
from graftwork_jobs import run_paths
from graftwork_jobs.events import EventTail, read_events
from graftwork_jobs.run_paths import RunPaths, RunState, is_driven

if TYPE_CHECKING:
    from graftwork_jobs.events import Event

_STOP_DEADLINE_S = 60.0
_POLL_S = 0.2


@click.group("jobs")
def command() -> None:
    """List, show and stop training runs."""


@command.command("list")
@output_option
def list_runs(output: Output) -> None:
    """All runs, newest first within a job."""
    settings = load_settings()
    rows = [_row(paths) for paths in run_paths.all_runs(settings)]
    if output == "json":
        print_json(rows)
    elif rows:
        print_table(
            ["job", "run", "status", "updated", "message"],
            [[row["job"], row["run"], row["status"], row["updated"], row["message"]] for row in rows],
        )
    else:
        console().print(f"No runs in {settings.runs_dir} yet. Start one with: graft run FILE")


@command.command("show")
@click.argument("name")
@output_option
def show(name: str, output: Output) -> None:
    """Show one run: NAME is a job (its newest run) or JOB/RUN."""
    paths = find_run(load_settings(), name)
    events = read_events(paths.events_file)
    epochs = [event for event in events if event["kind"] == "epoch"]
    row = _row(paths)
    if output == "json":
        result = run_paths.read_state(paths).result
        print_json({**row, "folder": str(paths.root), "result": result, "epochs": epochs})
        return
    screen = console()
    screen.print(f"{row['job']}/{row['run']}: {row['status']} ({row['updated']})")
    if row["message"]:
        screen.print(row["message"])
    screen.print(f"folder: {paths.root}")
    _print_metrics(run_paths.read_state(paths).result)
    if epochs:
        keys = ["phase", "epoch", *epochs[0]["figures"], "learning_rate"]
        print_table(keys, [[_cell(event.get(key)) for key in keys] for event in epochs])


@command.command("logs")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@output_option
def logs(name: str, follow: bool, output: Output) -> None:  # noqa: FBT001 (click passes flags by name)
    """Print a run's events: NAME is a job (its newest run) or JOB/RUN."""
    paths = find_run(load_settings(), name)
    tail = EventTail(paths.events_file)
    while True:
        running = is_driven(paths)
        for event in tail.new_events():
            if event["kind"] != "progress":
                click.echo(json.dumps(event) if output == "json" else _event_line(event))
        if not (follow and running):
            return
        time.sleep(_POLL_S)


@command.command("stop")
@click.argument("name")
@output_option
def stop(name: str, output: Output) -> None:
    """End a run; the same `graft run FILE` continues it later."""
    paths = find_run(load_settings(), name)
    state = run_paths.read_state(paths)
    if not is_driven(paths):
        raise PermanentError(f"{paths.job}/{paths.run_id} is not running (its status is {state.status}).")
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_DEADLINE_S
    while is_driven(paths):
        if time.monotonic() > deadline:
            raise PermanentError(
                f"process {state.pid} did not end within {_STOP_DEADLINE_S:.0f} s. End it with: kill -9 {state.pid}"
            )
        time.sleep(_POLL_S)
    if output == "json":
        print_json(_row(paths))
    else:
        console().print(f"stopped {paths.job}/{paths.run_id}")


@command.command("remove")
@click.argument("name", metavar="JOB/RUN")
@yes_option
@output_option
def remove(name: str, yes: bool, output: Output) -> None:  # noqa: FBT001 (click passes flags by name)
    """Delete a run with its checkpoints, report and log for good; a model it registered stays."""
    from graftwork_jobs.run_claim import remove_run

    settings = load_settings()
    paths = find_run(settings, name)
    full = f"{paths.job}/{paths.run_id}"
    if name != full:
        raise SpecError(
            Problem(where="JOB/RUN", received=name, expected="one run by its whole name", fix=f"Such as: {full}")
        )
    ask(f"Delete {full} ({_row(paths)['status']}) and all its files for good?", yes=yes)
    remove_run(settings, paths)
    if output == "json":
        print_json({"job": paths.job, "run": paths.run_id, "removed": True})
    else:
        console().print(f"{full} is deleted")


def find_run(settings: Settings, name: str) -> RunPaths:
    """The run a user means.

    Args:
        settings: where runs are.
        name: job name (newest run) or `JOB/RUN`.

    Raises:
        SpecError: there is none.
    """
    job, _, run_id = name.partition("/")
    for paths in run_paths.runs_of(settings, job):
        if run_id in {"", paths.run_id}:
            return paths
    known = [f"{paths.job}/{paths.run_id}" for paths in run_paths.all_runs(settings)]
    jobs = sorted({entry.partition("/")[0] for entry in known})
    raise SpecError(
        Problem(
            where="NAME",
            received=name,
            expected=f"one of {', '.join(known[:10])}" if known else "the name of a run, and there are none yet",
            fix=did_you_mean(name, [*jobs, *known]) or "See: graft jobs list",
        )
    )


def _print_metrics(result: dict[str, Any]) -> None:
    """Figures of each test set with their 95 % confidence intervals, once there are any."""
    sets = {"test": result["metrics"], **result["extra_metrics"]} if result else {}
    if not sets:
        return
    known = result.get("intervals", {})
    names = list(dict.fromkeys(name for figures in sets.values() for name in figures))
    print_table(
        ["metric", *sets],
        [[name, *(_figure(figures, known.get(test, {}), name) for test, figures in sets.items())] for name in names],
        title="Test sets, with 95 % confidence intervals",
    )


def _figure(figures: dict[str, float], intervals: dict[str, list[float]], name: str) -> str:
    ends = "..".join(f"{end:.4g}" for end in intervals.get(name, []))
    return f"{_cell(figures.get(name, ''))} {ends}".strip()


def _row(paths: RunPaths) -> dict[str, Any]:
    state = run_paths.read_state(paths)
    return {
        "job": paths.job,
        "run": paths.run_id,
        "status": _status(paths, state),
        "updated": f"{format_duration(max(0.0, time.time() - state.updated_at))} ago",
        "message": state.message.splitlines()[0] if state.message else "",
    }


def _status(paths: RunPaths, state: RunState) -> str:
    if state.status in run_paths.ENDED or is_driven(paths):
        return state.status
    return "interrupted"


def _cell(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _event_line(event: Event) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    details = " ".join(f"{key}={_cell(value)}" for key, value in event.items() if key not in {"time", "kind"})
    return f"{when} {event['kind']} {details}"
