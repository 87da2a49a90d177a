from __future__ import annotations

from dataclasses import replace

from graftwork_jobs.evaluation.comparison import Comparison, Difference, Turned
from graftwork_jobs.evaluation.summary import summary_lines
from tests.unit.jobs.evaluation.builders import content_with


def test_a_summary_names_accuracies_gain_gates_finding_and_report() -> None:
    """One line a test set with its gain, then gates, diagnosis and where the report is."""
    content = content_with()
    lines = summary_lines(content, "runs/report.html")
    here, there = (test.metrics.summary["accuracy"] for test in content.tests)
    assert lines == [
        f"accuracy on test       {here:.3f} (400 examples), {here - 0.25:+.3f} against random weights (0.250)",
        f"accuracy on elsewhere  {there:.3f} (400 examples), {there - 0.25:+.3f} against random weights (0.250)",
        "the gate passed",
        "diagnosis: A healthy run. All fits.",
        "  also: Too sure",
        "report: runs/report.html",
    ]


def test_what_a_comparison_leaves_out_is_told() -> None:
    """Whoever replaces a model learns without the report that it knew a class more."""
    accuracy = Difference(metric="accuracy", ours=0.94, theirs=0.9, low=0.01, high=0.07, p_value=0.004, test="mcnemar")
    compared = Comparison(
        alias="champion",
        version=3,
        examples=400,
        differences=(accuracy,),
        turned=Turned(both=350, only_ours=26, only_theirs=10, neither=14),
        notes=("The other model also knows zebra.",),
    )
    lines = summary_lines(replace(content_with(), compared=(compared,)), "r")
    place = lines.index("  The other model also knows zebra.")
    assert "champion (version 3)" in lines[place - 1]


def test_every_failed_gate_is_named() -> None:
    """A failed gate is told with its sentence, passed ones are not."""
    content = content_with()
    failed = replace(content.gates[0], passed=False, sentence="accuracy misses it.")
    lines = summary_lines(replace(content, gates=(content.gates[0], failed)), "r")
    assert "gate failed: accuracy misses it." in lines
    assert not any("passed" in line for line in lines)


def test_without_a_baseline_no_gain_is_claimed() -> None:
    """No random-weights run, no comparison."""
    content = content_with()
    tests = tuple(replace(test, baseline=None) for test in content.tests)
    assert not any("random weights" in line for line in summary_lines(replace(content, tests=tests), "r"))


def test_what_to_try_follows_the_finding() -> None:
    """Advice of the main finding stands on a line of its own."""
    content = content_with()
    finding = replace(content.findings[0], severity="warning", advice=("one", "two", "three", "four"))
    assert "  try: one; two; three" in summary_lines(replace(content, findings=(finding,)), "r")
