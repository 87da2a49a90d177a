"""`graft suggest`: the next spec, from what a finished run shows."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from graftwork.bundle.manifest import MANIFEST_FILE
from graftwork.cli.console import console, print_json
from graftwork.cli.options import Output, output_option
from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.settings import load_settings
from graftwork.spec.edit_yaml import set_value
from graftwork.spec.search_space import place_of
from graftwork.spec.yaml_text import parse_documents
from graftwork_jobs import run_paths
from graftwork_jobs.commands.jobs import find_run
from graftwork_jobs.suggest.remedies import is_for_a_person
from graftwork_jobs.suggest.suggestion import Change, suggest

if TYPE_CHECKING:
    from graftwork_jobs.run_paths import RunPaths

_DIVERGED = re.compile(r"Training diverged in phase ([a-z0-9-]+)")


@dataclass(frozen=True, kw_only=True)
class _Text:
    """A job's YAML and where in it the job stands."""

    text: str
    document: int


@click.command("suggest")
@click.argument("name")
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the new spec to this new file; relative paths in it start at the file's folder.",
)
@output_option
def command(name: str, write: Path | None, output: Output) -> None:
    """Propose the next spec from a finished run: NAME is a job (its newest run with a report) or JOB/RUN.

    Each change has its reason in what the run's curves and test figures show.
    """
    settings = load_settings()
    newest = find_run(settings, name)
    candidates = [newest] if "/" in name else run_paths.runs_of(settings, newest.job)
    told = next(((each, found) for each in candidates if (found := _findings(each)) is not None), None)
    if told is None:
        status = run_paths.read_state(newest).status
        raise PermanentError(
            f"{newest.job}/{newest.run_id} has no report (its status is {status}): let it come to its end first."
        )
    paths, findings = told
    content = json.loads(paths.spec_file.read_text())
    source = _source(paths, content)
    plain = _documents(source.text)[source.document]
    changes, _ = suggest(findings, plain, found=_found_by_search(paths))
    text = _edited(source, plain, changes)
    if write is not None:
        _write_new(write, text)
    if output == "json":
        run = f"{paths.job}/{paths.run_id}"
        spec = _documents(text)[source.document]
        print_json(
            {"run": run, "changes": [change.as_dict() for change in changes], "findings": findings, "spec": spec}
        )
        return
    _tell(paths, findings, changes, source.text, text)
    if write is not None and changes:
        console().print(f"written to {write}; run it with: graft run {write}")


def _findings(paths: RunPaths) -> list[dict[str, Any]] | None:
    """What the run's report found; of a run that diverged, that. None if it has nothing to tell yet."""
    report = paths.report_dir / "metrics.json"
    if report.is_file():
        found: list[dict[str, Any]] = json.loads(report.read_text())["findings"]
        return found
    state = run_paths.read_state(paths)
    diverged = _DIVERGED.search(state.message)
    if diverged is None:
        return None
    return [
        {
            "code": "not_a_number",
            "severity": "problem",
            "title": f"Phase {diverged[1]} broke down",
            "evidence": state.message.splitlines()[0],
            "advice": [],
            "phase": diverged[1],
        }
    ]


def _source(paths: RunPaths, content: dict[str, Any]) -> _Text:
    """The job's file as the user wrote it, if the run kept it; else the spec that the run recorded."""
    if paths.source_file.is_file():
        text = paths.source_file.read_text()
        for number, entry in enumerate(_documents(text)):
            if entry.get("kind") == content["kind"] and entry["metadata"]["name"] == content["metadata"]["name"]:
                return _Text(text=text, document=number)
    return _Text(text=yaml.safe_dump(content, sort_keys=False), document=0)


def _documents(text: str) -> list[dict[str, Any]]:
    documents, _ = parse_documents(text, "job.yaml")
    return [document.value for document in documents]


def _found_by_search(paths: RunPaths) -> dict[str, Any]:
    """What the best trial of the run's search changed; empty without a search."""
    manifest = paths.bundle_dir / MANIFEST_FILE
    if not manifest.is_file():
        return {}
    search = json.loads(manifest.read_text())["lineage"].get("search")
    return {} if search is None else dict(search["values"])


def _edited(source: _Text, plain: dict[str, Any], changes: list[Change]) -> str:
    text = source.text
    for change in changes:
        text = set_value(text, source.document, ("spec", *place_of(plain["spec"], change.path)), change.after)
    return text


def _write_new(file: Path, text: str) -> None:
    try:
        with file.open("x") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise SpecError(
            Problem(
                where="--write",
                received=f"{file}, which exists",
                expected="the name of a new file",
                fix="Name another file, or remove this one first.",
            )
        ) from error


def _tell(paths: RunPaths, findings: list[dict[str, Any]], changes: list[Change], before: str, after: str) -> None:
    screen = console()
    for finding in findings:
        screen.print(f"{finding['title']}. {finding['evidence']}")
    by_hand = [finding["advice"] for finding in findings if finding["advice"] and is_for_a_person(finding["code"])]
    for advice in by_hand:
        screen.print(f"by hand: {'; '.join(advice)}")
    if by_hand and not changes:
        screen.print("Nothing in the spec asks for a change.")
        return
    if not changes:
        screen.print(
            "Nothing in the spec asks for a change. What else may help: more training data, a larger backbone, or a "
            "search over head.dropout and phases[].learningRate."
        )
        return
    screen.print()
    for change in changes:
        screen.print(f"{change.path}: {change.reason} ({change.finding.replace('_', ' ')})")
    screen.print()
    diff = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{paths.job}/{paths.run_id}", "suggested", lineterm="", n=1
    )
    for line in diff:
        click.echo(line)
