"""`graft run` from the spec to the registry, gates, a full disk, and `graft jobs` about all of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from graftwork.bundle.directory import open_bundle
from graftwork.cli.main import cli
from graftwork.data_files.tables import read_table
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.load import load_only
from graftwork_jobs.run_paths import read_state
from tests.integration.jobs.graft_home import Ended, GraftHome
from tests.integration.jobs.tiny_jobs import CLASSES, write_job

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def jobs(graft_home: GraftHome, *arguments: str) -> str:
    """What `graft jobs ...` prints."""
    result = CliRunner().invoke(cli, ["jobs", *arguments], env={"GRAFT_HOME": str(graft_home.home)})
    assert result.exit_code == 0, result.output
    return result.stdout


def versions(graft_home: GraftHome) -> list[dict[str, object]]:
    """Registered versions of `tiny`, as `graft models show` tells them."""
    result = CliRunner().invoke(cli, ["models", "show", "tiny", "-o", "json"], env={"GRAFT_HOME": str(graft_home.home)})
    assert result.exit_code == 0, result.output
    found: list[dict[str, object]] = json.loads(result.stdout)["versions"]
    return found


def test_a_run_ends_in_report_bundle_and_registry(undisturbed: Ended, graft_home: GraftHome) -> None:
    """The outcome names them, and they are there and whole."""
    outcome = undisturbed.json
    assert (outcome["job"], outcome["model"], outcome["version"], outcome["alias"]) == ("calm", "tiny", 1, "champion")
    assert 0 <= outcome["metrics"]["accuracy"] <= 1
    assert Path(outcome["report"]).is_file()
    bundle = open_bundle(Path(outcome["bundle"]))
    assert tuple(bundle.manifest.output.labels) == CLASSES
    assert bundle.manifest.metrics == outcome["metrics"]
    assert bundle.manifest.lineage.run_id == outcome["run_id"]
    (run,) = graft_home.runs("calm")
    table = read_table(run.predictions_dir / "test.csv", "csv", ["true_label", "predicted_label"])
    right = [truth == answer for truth, answer in (row.values for row in table.rows)]
    assert sum(right) / len(right) == pytest.approx(outcome["metrics"]["accuracy"])


def test_jobs_lists_shows_and_logs_the_run(undisturbed: Ended, graft_home: GraftHome) -> None:
    """In words and in JSON, by the job's name and by the run's."""
    run_id = undisturbed.json["run_id"]
    (listed,) = [row for row in json.loads(jobs(graft_home, "list", "-o", "json")) if row["job"] == "calm"]
    assert (listed["run"], listed["status"]) == (run_id, "succeeded")
    assert run_id in jobs(graft_home, "list")
    shown = json.loads(jobs(graft_home, "show", f"calm/{run_id}", "-o", "json"))
    assert shown["result"]["metrics"] == undisturbed.json["metrics"]
    assert [epoch["phase"] for epoch in shown["epochs"]] == ["head"] * 12 + ["tune"] * 20
    told = jobs(graft_home, "show", "calm")
    assert f"calm/{run_id}: succeeded" in told
    low, high = shown["result"]["intervals"]["test"]["f1_macro"]
    assert low <= undisturbed.json["metrics"]["f1_macro"] <= high
    assert f"{low:.4g}..{high:.4g}" in told
    events = [json.loads(line) for line in jobs(graft_home, "logs", "calm", "-o", "json").splitlines()]
    stages = [event["stage"] for event in events if event["kind"] == "stage"]
    assert stages == ["planned", "training", "evaluating", "registering", "succeeded"]
    assert "phase=tune epoch=20" in jobs(graft_home, "logs", "calm")


def test_jobs_stop_of_what_does_not_run_says_so(undisturbed: Ended, graft_home: GraftHome) -> None:
    """Exit code 1 and the run's status."""
    result = CliRunner().invoke(cli, ["jobs", "stop", "calm"], env={"GRAFT_HOME": str(graft_home.home)})
    assert result.exit_code == 1
    assert "is not running (its status is succeeded)" in result.stderr


def delete_version(graft_home: GraftHome, number: int) -> None:
    """What a user does in MLflow's own interface."""
    from graftwork.progress import SilentReporter
    from graftwork.registry.mlflow_client import connect

    connect(graft_home.settings, SilentReporter()).delete_model_version("tiny", str(number))


def test_suggest_proposes_the_next_spec(undisturbed: Ended, graft_home: GraftHome, tmp_path: Path) -> None:
    """From the report's findings, as a diff, in JSON and as a file that is a valid spec with the comments kept."""
    file = graft_home.runs("calm")[0].source_file
    file.write_text(f"# My comment.\n{file.read_text()}")
    new = tmp_path / "next.yaml"
    environment = {"GRAFT_HOME": str(graft_home.home)}
    told = CliRunner().invoke(cli, ["suggest", "calm", "-o", "json", "--write", str(new)], env=environment)
    assert told.exit_code == 0, told.output
    suggestion = json.loads(told.stdout)
    report = json.loads((graft_home.runs("calm")[0].report_dir / "metrics.json").read_text())
    assert suggestion["findings"] == report["findings"]
    assert new.read_text().startswith("# My comment.\n")
    job, _ = load_only(new, FineTuneJob)
    assert suggestion["spec"] == yaml.safe_load(new.read_text())
    before = read_spec(file)
    assert [change for change in suggestion["changes"] if change["before"] == change["after"]] == []
    assert bool(suggestion["changes"]) == (job != before)
    text = CliRunner().invoke(cli, ["suggest", "calm"], env=environment)
    assert all(change["reason"] in " ".join(text.output.split()) for change in suggestion["changes"])
    again = CliRunner().invoke(cli, ["suggest", "calm", "--write", str(new)], env=environment)
    assert again.exit_code == 2
    assert "which exists" in again.stderr


def read_spec(file: Path) -> FineTuneJob:
    job, _ = load_only(file, FineTuneJob)
    return job


@dataclass(frozen=True, kw_only=True)
class GatedStory:
    """A job stopped while it starts, started over, refused by its gate, out of disk space, let through, repeated."""

    stopped: Ended
    status_after_stop: str
    left_over: list[str]
    refused: Ended
    runs_after_restart: int
    versions_after_refusal: list[dict[str, object]]
    report_after_refusal: str
    full: Ended
    versions_after_full_disk: list[dict[str, object]]
    passed: Ended
    unchanged: Ended
    versions_after_deletion: list[dict[str, object]]
    made_again: Ended
    versions_at_the_end: list[dict[str, object]]
    re_evaluated: Ended
    runs_at_the_end: int


@pytest.fixture(scope="module")
def story(undisturbed: Ended, graft_home: GraftHome) -> GatedStory:
    """Steps that build on each other, with as few starts of Ray as possible."""
    # On the parts that `calm` was trained and tested on, so that the two can be compared.
    training = {"batchSize": 6, "seed": 5}
    file = write_job(graft_home.work, "gated", training=training, evaluation={"gates": [{"metric": "loss", "max": 0}]})
    starting = graft_home.start("run", file)
    starting.wait_until(lambda: bool(graft_home.runs("gated")))
    starting.process.send_signal(signal.SIGTERM)
    stopped = starting.ended()
    status_after_stop = read_state(graft_home.runs("gated")[0]).status
    left_over = starting.left_over(60)

    refused = graft_home.graft("run", file, "--restart")
    runs_after_restart, versions_after_refusal = len(graft_home.runs("gated")), versions(graft_home)
    report_after_refusal = (graft_home.runs("gated")[0].report_dir / "report.html").read_text()

    gates = [
        {"metric": "loss", "max": 100},
        {"metric": "accuracy", "notWorseThan": "champion", "margin": 1, "interval": "part"},
    ]
    relaxed = {"gates": gates, "calibration": "temperature"}
    write_job(graft_home.work, "gated", training=training, evaluation=relaxed)
    full = _run_on_full_disk(graft_home, file)
    versions_after_full_disk = versions(graft_home)
    passed = graft_home.graft("run", file)

    unchanged = graft_home.graft("run", file, "-o", "json")
    delete_version(graft_home, 2)
    versions_after_deletion = versions(graft_home)
    made_again = graft_home.graft("run", file, "-o", "json")
    versions_at_the_end = versions(graft_home)
    strict = {"gates": [{"metric": "loss", "max": 0.001}], "calibration": "temperature"}
    write_job(graft_home.work, "gated", training=training, evaluation=strict, schedule={"cron": "0 3 * * *"})
    re_evaluated = graft_home.graft("run", file)
    return GatedStory(
        stopped=stopped,
        status_after_stop=status_after_stop,
        left_over=left_over,
        refused=refused,
        runs_after_restart=runs_after_restart,
        versions_after_refusal=versions_after_refusal,
        report_after_refusal=report_after_refusal,
        full=full,
        versions_after_full_disk=versions_after_full_disk,
        passed=passed,
        unchanged=unchanged,
        versions_after_deletion=versions_after_deletion,
        made_again=made_again,
        versions_at_the_end=versions_at_the_end,
        re_evaluated=re_evaluated,
        runs_at_the_end=len(graft_home.runs("gated")),
    )


# Room for the bundle and for what the registry writes before it takes the bundle in: the last step finds the disk full.
_FREE_KIB = 200
_ON_FULL_DISK = """
set -e
home=$1; copy=$2; free=$3; shift 3
mount -t tmpfs -o size=1g tmpfs "$home"
cp -a "$copy/." "$home"
used=$(df -k --output=used "$home" | tail -1)
mount -o remount,size=$((used + free))k "$home"
exec "$@"
"""


def _may_mount() -> bool:
    probe = 'd=$(mktemp -d); mount -t tmpfs tmpfs "$d"; status=$?; umount "$d" 2>/dev/null; rmdir "$d"; exit $status'
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-Urm", "sh", "-c", probe], capture_output=True, check=False).returncode == 0


def _run_on_full_disk(graft_home: GraftHome, file: str) -> Ended:
    """Run with the home on a disk of its own that is nearly full; only that process sees the disk."""
    if not _may_mount():
        return Ended(code=-1, out="", err="")
    copy = graft_home.home.with_name("copy")
    shutil.copytree(graft_home.home, copy, symlinks=True)
    prefix = ("unshare", "-Urm", "sh", "-c", _ON_FULL_DISK, "sh", str(graft_home.home), str(copy), str(_FREE_KIB))
    return graft_home.graft("run", file, prefix=prefix)


def test_sigterm_while_starting_stops_cleanly(story: GatedStory) -> None:
    """As Ctrl-C: exit code 130, status stopped, how to go on, no process left."""
    assert story.stopped.code == 130, story.stopped.err
    assert story.status_after_stop == "stopped"
    assert "Continue with: graft run gated.yaml" in story.stopped.err
    assert story.left_over == []


def test_restart_makes_a_new_run(story: GatedStory) -> None:
    """`--restart` leaves the unfinished run and starts another."""
    assert story.runs_after_restart == 2
    assert "continuing" not in story.refused.out


def test_a_failed_gate_registers_nothing(story: GatedStory) -> None:
    """Exit code 1 with the figure and the bound; the earlier version keeps its alias."""
    assert story.refused.code == 1
    assert "misses the gate's max: at most 0.000" in story.refused.err
    assert "Traceback" not in story.refused.err
    assert [(each["version"], each["aliases"]) for each in story.versions_after_refusal] == [(1, ["champion"])]
    assert "misses the gate" in story.report_after_refusal
    assert "graft serve" not in story.report_after_refusal


def test_a_full_disk_is_named_and_registers_nothing(story: GatedStory) -> None:
    """A sentence with the reason, no traceback, the registry as it was."""
    if story.full.code == -1:
        pytest.skip("needs the right to mount a file system in a namespace of its own (unshare -Urm)")
    assert story.full.code == 1, story.full.err
    assert "No space left on device" in story.full.err
    assert "Traceback" not in story.full.err
    assert story.versions_after_full_disk == story.versions_after_refusal


def test_a_relaxed_gate_lets_the_trained_model_through(story: GatedStory) -> None:
    """The same run goes on without training again, and becomes version 2 under the alias."""
    assert story.passed.code == 0, story.passed.err
    assert "and is trained: what follows is done again (--force trains again)" in story.passed.out
    assert "registered tiny version 2, alias champion" in story.passed.out
    assert "phase tune" not in story.passed.out
    assert story.runs_at_the_end == 2


def test_the_model_is_compared_with_the_champion_on_its_own_test_set(story: GatedStory, graft_home: GraftHome) -> None:
    """The registered model answered this run's test pictures: in the summary, in the figures and for the gate."""
    assert "of champion (version 1) on the same 9 test examples" in story.passed.out
    figures = json.loads((graft_home.runs("gated")[0].report_dir / "metrics.json").read_text())
    # Judged again at the end, when it was the champion itself.
    assert figures["compared"] == []


def test_a_calibrated_network_is_packed_and_served_as_such(story: GatedStory, graft_home: GraftHome) -> None:
    """The bundle says by what its outputs are divided; its golden examples, replayed at its making, are calibrated."""
    bundle = open_bundle(Path(story.made_again.json["bundle"]))
    calibration = bundle.manifest.calibration
    assert calibration is not None
    assert calibration.examples == 9
    (temperature,) = calibration.temperatures
    assert temperature != 1.0


def test_an_unchanged_job_is_answered_from_its_run(story: GatedStory) -> None:
    """At once, with the run, the version and the metrics of then; nothing is trained or registered."""
    assert story.unchanged.code == 0, story.unchanged.err
    outcome = story.unchanged.json
    assert outcome["reused"] is True
    assert (outcome["model"], outcome["version"], outcome["alias"]) == ("tiny", 2, "champion")
    assert f"run {outcome['run_id']} had the same spec" in story.unchanged.err
    assert "phase tune" not in story.unchanged.err


def test_a_schedule_is_for_clusters(story: GatedStory) -> None:
    """Here the job runs at once, which is said; it is the job that it was without a schedule."""
    assert "spec.schedule is for a cluster" in story.re_evaluated.out
    assert story.runs_at_the_end == 2


def test_a_version_that_was_deleted_is_made_again(story: GatedStory) -> None:
    """From the stored result: the same bundle under a new number, with the alias, and no training."""
    assert [each["version"] for each in story.versions_after_deletion] == [1]
    assert story.made_again.code == 0, story.made_again.err
    outcome = story.made_again.json
    assert (outcome["reused"], outcome["run_id"]) == (True, story.unchanged.json["run_id"])
    assert outcome["metrics"] == story.unchanged.json["metrics"]
    newest = story.versions_at_the_end[0]
    assert (newest["version"], newest["aliases"]) == (outcome["version"], ["champion"])
    assert newest["version"] != 1


def test_a_changed_gate_judges_the_stored_result(story: GatedStory) -> None:
    """A finished run is judged again by what the spec says now, without training."""
    assert story.re_evaluated.code == 1
    assert "nothing is trained" in story.re_evaluated.out
    assert "misses the gate's max" in story.re_evaluated.err
    assert "phase tune" not in story.re_evaluated.out


def test_what_was_registered_stays_when_a_later_gate_fails(story: GatedStory, graft_home: GraftHome) -> None:
    """Which is said: the version, its alias, and the way back."""
    number = story.made_again.json["version"]
    words = f"tiny/{number}, which this run registered under other gates, stays with the alias champion."
    assert words in story.re_evaluated.err
    assert versions(graft_home) == story.versions_at_the_end
