"""Prepares a report's content for its page: what is shown, how much of it, how figures are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graftwork.spec.edit_yaml import flow
from graftwork_jobs.evaluation.comparison_view import comparison_views, slice_tables
from graftwork_jobs.evaluation.diagnosis import main_finding
from graftwork_jobs.evaluation.history import by_phase
from graftwork_jobs.evaluation.kinds import Reporting
from graftwork_jobs.evaluation.report_content import PhaseSummary, ReportContent, TestReport
from graftwork_jobs.evaluation.thumbnails import data_uri, thumbnail_uri
from graftwork_jobs.features.usage import ENGINE_NAMES
from graftwork_jobs.search.records import TrialRecord

MISTAKES_SHOWN: Final = 18
_NONE = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_MINUTE_S = 60
_MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class TestView:
    """One test set as the page shows it."""

    __test__ = False

    name: str
    title: str
    report: TestReport
    value: float
    baseline: float | None
    gain: float | None
    interval: tuple[float, float] | None
    details: Any
    chart_ending: str


@dataclass(frozen=True, kw_only=True)
class PhaseView:
    """One phase as the page shows it."""

    summary: PhaseSummary
    epochs_run: int
    seconds: float
    examples_per_s: float | None
    val_loss: float | None
    val_score: float | None


def render_page(content: ReportContent, light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> str:
    """The report as one HTML page with everything in it.

    Args:
        content: what to tell.
        light: the charts as PNG by name, for light screens and paper.
        dark: the same charts for dark screens.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("graftwork_jobs.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(share=_share)
    environment.filters.update(figure=figure, signed=signed, count=count, duration=duration, rate=rate, percent=percent)
    environment.filters.update(interval=interval, flow=flow)
    page = environment.get_template("report.html.j2").render(
        content=content,
        charts={name: (data_uri(light[name], "image/png"), data_uri(dark[name], "image/png")) for name in light},
        main=main_finding(content.findings) if content.findings else None,
        tests=[_test_view(content.reporting, test, index) for index, test in enumerate(content.tests)],
        metric_names={key: name for key, name in content.reporting.titles.items() if _is_defined(key, content)},
        phases=_phase_views(content),
        feature_lines=[feature_line(phase) for phase in content.phases if phase.features is not None],
        preflights=[phase for phase in content.phases if phase.preflight_s is not None],
        mistakes=[
            (mistake, None if mistake.text else thumbnail_uri(mistake.picture))
            for mistake in content.mistakes[:MISTAKES_SHOWN]
        ],
        several_tests_of_mistakes=len({mistake.test for mistake in content.mistakes}) > 1,
        comparisons=comparison_views(content.compared, titles=content.reporting.titles, score=content.reporting.score),
        slice_tables=slice_tables(
            content.slices,
            score=content.reporting.score,
            second=content.reporting.second,
            slice_score=content.reporting.slice_score,
            whole=content.tests[0].metrics.summary[content.reporting.score],
        ),
        search_paths=sorted({path for trial in _trials(content) for path in trial.values}),
        search_trials=_trials(content),
        gates_passed=all(gate.passed for gate in content.gates),
    )
    return str(page)


def feature_line(phase: PhaseSummary) -> str:
    """How a phase came by the features of its frozen trunk, in one sentence; empty if it kept none."""
    usage = phase.features
    if usage is None:
        return ""
    views = f", {usage.views} views of each training picture" if usage.views else ""
    found = f"{usage.hits} of {usage.entries} entries were in the store ({percent(usage.hit_rate)})"
    engine = f" on {ENGINE_NAMES[usage.engine]} ({usage.engine_reason})" if usage.engine else ""
    spent = f"{duration(usage.seconds)} spent on computing the others{engine}" if usage.engine else "none was computed"
    return f"{phase.name}: outputs of {usage.cut}{views}, {usage.size_bytes / _MEGABYTE:,.1f} MB; {found}; {spent}."


def _trials(content: ReportContent) -> list[TrialRecord]:
    """The trials of the search, the best first, those that failed last."""
    search = content.search
    if search is None:
        return []
    sign = -1.0 if search.higher_is_better else 1.0
    order = {"finished": 0, "stopped": 1, "failed": 2}
    return sorted(search.trials, key=lambda trial: (order[trial.status], sign * (trial.score or 0.0), trial.number))


def figure(value: float | None, decimals: int = 3) -> str:
    """A figure with three decimals; a dash for none."""
    return _NONE if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def interval(ends: tuple[float, float]) -> str:
    """Both ends of an interval."""
    return f"{figure(ends[0])}\N{EN DASH}{figure(ends[1])}".replace("-", _MINUS)


def signed(value: float | None) -> str:
    """A difference with its sign, the minus a real one."""
    return _NONE if value is None else f"{value:+.3f}".replace("-", _MINUS)


def count(value: int) -> str:
    """A whole number with thousands set apart."""
    return f"{value:,}"


def _share(value: float) -> float:
    """Length of a bar: scores may be below 0."""
    return min(1.0, max(0.0, value))


def percent(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.0f} %"


def duration(value: float) -> str:
    """Seconds as a person would say them."""
    if value < _MINUTE_S:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), _MINUTE_S)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def rate(value: float) -> str:
    """A learning rate without useless digits."""
    return f"{value:.3g}"


def _is_defined(metric: str, content: ReportContent) -> bool:
    return any(metric in test.metrics.summary for test in content.tests)


def _test_view(reporting: Reporting, test: TestReport, index: int) -> TestView:
    return TestView(
        name=test.name,
        title="Test set" if index == 0 else test.name,
        report=test,
        value=test.metrics.summary[reporting.score],
        baseline=None if test.baseline is None else test.baseline[reporting.score],
        gain=test.gain(reporting.score),
        interval=test.intervals.get(reporting.score),
        details=reporting.view(test.metrics),
        chart_ending="" if index == 0 else f"_{test.name}",
    )


def _phase_views(content: ReportContent) -> list[PhaseView]:
    phases = by_phase(content.history)
    views = []
    for summary in content.phases:
        records = phases.get(summary.name, ())
        kept = next((record for record in records if record.epoch == summary.kept_epoch), None)
        speeds = [record.examples_per_s for record in records if record.examples_per_s is not None]
        views.append(
            PhaseView(
                summary=summary,
                epochs_run=len(records),
                seconds=sum(record.seconds or 0.0 for record in records),
                examples_per_s=sum(speeds) / len(speeds) if speeds else None,
                val_loss=kept.val_loss if kept else None,
                val_score=kept.val_score if kept else None,
            )
        )
    return views
