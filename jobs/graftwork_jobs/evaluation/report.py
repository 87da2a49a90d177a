"""Writes a report: one HTML page that needs nothing else, its charts as PNG and its figures as JSON.

The directory appears complete or not at all. What the page shows is prepared in `report_view`.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from graftwork_jobs.evaluation.charts import Curve, Theme, learning_curve, trial_scores
from graftwork_jobs.evaluation.report_content import ReportContent
from graftwork_jobs.evaluation.report_view import render_page

REPORT_FILE: Final = "report.html"
METRICS_FILE: Final = "metrics.json"
_FORMAT_VERSION = 1


def write_report(content: ReportContent, directory: Path) -> Path:
    """Write `report.html`, `metrics.json` and a PNG of each chart; replaces an earlier report there.

    The same content gives the same bytes.

    Args:
        content: what to tell.
        directory: where to; made or replaced as a whole.

    Returns:
        The path of the HTML page.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        light, dark = _charts(content, "light"), _charts(content, "dark")
        for name, png in light.items():
            (temporary / f"{name}.png").write_bytes(png)
        (temporary / METRICS_FILE).write_text(metrics_json(content), encoding="utf-8")
        (temporary / REPORT_FILE).write_text(render_page(content, light, dark), encoding="utf-8")
        # mkdtemp makes it private; a report is as readable as anything else the user writes.
        temporary.chmod(directory.stat().st_mode & 0o777 if directory.exists() else 0o755)
        _put_in_place(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory / REPORT_FILE


def metrics_json(content: ReportContent) -> str:
    """All figures of a report; what is not a number becomes null."""
    figures = {
        "formatVersion": _FORMAT_VERSION,
        "job": content.job,
        "runId": content.run_id,
        "createdAt": content.created_at,
        "tests": {
            test.name: {
                **test.metrics.as_dict(),
                "intervals": dict(test.intervals),
                "uncalibrated": None if test.before is None else dict(test.before.summary),
                "baseline": None if test.baseline is None else dict(test.baseline),
            }
            for test in content.tests
        },
        "compared": [each.as_dict() for each in content.compared],
        "slices": [each.as_dict() for each in content.slices],
        "settled": list(content.settled),
        "gates": [vars(gate).copy() for gate in content.gates],
        "findings": [finding.as_dict() for finding in content.findings],
        "phases": [asdict(phase) for phase in content.phases],
        "history": [record.as_dict(content.reporting.score) for record in content.history],
        "timings": dict(content.timings),
        "search": None if content.search is None else asdict(content.search),
    }
    return json.dumps(_finite(figures), indent=1, allow_nan=False) + "\n"


def _charts(content: ReportContent, theme: Theme) -> dict[str, bytes]:
    """The charts by file name without ending; those of further test sets carry the set's name."""
    charts: dict[str, bytes] = {}
    curves: dict[Curve, str] = {"loss": "loss", "score": content.reporting.score} if content.history else {}
    for what, name in curves.items():
        charts[f"learning_curve_{name}"] = learning_curve(what, content.history, content.kept_epochs, theme, title=name)
    if content.search is not None:
        charts["search"] = trial_scores(content.search, theme)
    for index, test in enumerate(content.tests):
        ending = "" if index == 0 else f"_{test.name}"
        for name, png in content.reporting.charts(test.metrics, theme).items():
            charts[f"{name}{ending}"] = png
        if test.before is not None:
            charts[f"calibration_before{ending}"] = content.reporting.charts(test.before, theme)["calibration"]
    return charts


def _put_in_place(temporary: Path, directory: Path) -> None:
    """Rename over what may be there: a directory cannot be replaced in one step, so the old one steps aside first."""
    if not directory.exists():
        temporary.rename(directory)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}-old-", dir=directory.parent))
    directory.rename(aside / directory.name)
    try:
        temporary.rename(directory)
    except OSError:
        (aside / directory.name).rename(directory)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_finite(entry) for entry in value]
        case _:
            return value
