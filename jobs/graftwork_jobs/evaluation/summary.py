"""The few plain lines a person reads when a job is done. Pure."""

from __future__ import annotations

from graftwork_jobs.evaluation.comparison import Comparison, verdict
from graftwork_jobs.evaluation.diagnosis import main_finding
from graftwork_jobs.evaluation.report_content import ReportContent, TestReport

_ADVICE_SHOWN = 3


def summary_lines(content: ReportContent, report_path: str) -> list[str]:
    """What a finished job says: accuracies, gain over random weights, gates, main finding, the report's place.

    Args:
        content: what the report tells.
        report_path: the HTML file.
    """
    width = max(len(_title(content, test)) for test in content.tests)
    lines = [f"{_title(content, test):<{width}}  {_headline(content, test)}" for test in content.tests]
    for each in content.compared:
        if isinstance(each, Comparison):
            lines.append(verdict(each, content.reporting.score, content.reporting.titles[content.reporting.score]))
            lines += [f"  {note}" for note in each.notes]
    if content.gates:
        failed = [gate.sentence for gate in content.gates if not gate.passed]
        lines += [f"gate failed: {sentence}" for sentence in failed] or [
            f"all {len(content.gates)} gates passed" if len(content.gates) > 1 else "the gate passed"
        ]
    if content.findings:
        lines += _finding_lines(content)
    lines.append(f"report: {report_path}")
    return lines


def _finding_lines(content: ReportContent) -> list[str]:
    main = main_finding(content.findings)
    lines = [f"diagnosis: {main.title}. {main.evidence}"]
    if main.advice:
        lines.append(f"  try: {'; '.join(main.advice[:_ADVICE_SHOWN])}")
    others = [finding.title for finding in content.findings if finding is not main]
    if others:
        lines.append(f"  also: {'; '.join(others)}")
    return lines


def _title(content: ReportContent, test: TestReport) -> str:
    return f"{content.reporting.score_words} on {test.name}"


def _headline(content: ReportContent, test: TestReport) -> str:
    score = content.reporting.score
    gain = test.gain(score)
    text = f"{test.metrics.summary[score]:.3f} ({test.metrics.examples:,} examples)"
    if gain is None or test.baseline is None:
        return text
    return f"{text}, {gain:+.3f} against random weights ({test.baseline[score]:.3f})"
