"""Comparisons with registered models and slices of the test set, prepared for the report's page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from graftwork.spec.target_metrics import RANGES
from graftwork_jobs.evaluation.comparison import Comparison, Difference, NotCompared, amount, verdict
from graftwork_jobs.evaluation.resampling import Interval
from graftwork_jobs.evaluation.slices import Slice, strength

SLICE_ROWS: Final = 20
"""A table of slices shows at most this many of a column, the weakest first."""
_MINUS: Final = "\N{MINUS SIGN}"


@dataclass(frozen=True, kw_only=True)
class Span:
    """An interval drawn on a line from 0 to 100 per cent.

    Attributes:
        left: where it begins.
        width: how long it is.
        dot: where the figure is.
    """

    left: float
    width: float
    dot: float


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """One figure of two models: `gain` in words, `span` with no difference in the middle where it can be drawn."""

    title: str
    difference: Difference
    gain: str
    interval: str
    span: Span | None


@dataclass(frozen=True, kw_only=True)
class ComparisonView:
    """One comparison as the page shows it; without rows, `verdict` says why there is none."""

    alias: str
    verdict: str
    rows: tuple[DifferenceRow, ...] = ()
    comparison: Comparison | None = None


@dataclass(frozen=True, kw_only=True)
class SliceRow:
    """One slice as the page shows it."""

    slice: Slice
    value: float | None
    interval: Interval | None
    span: Span | None
    second: float | None


@dataclass(frozen=True, kw_only=True)
class SliceTable:
    """The slices of one column, the weakest first.

    Attributes:
        column: its name.
        rows: what is shown.
        cut: how many more there are.
        whole: the figure of all of the test set, where on the line.
        some_small: whether a slice is marked as small.
    """

    column: str
    rows: tuple[SliceRow, ...]
    cut: int
    whole: float
    some_small: bool


def comparison_views(
    compared: Sequence[Comparison | NotCompared], *, titles: Mapping[str, str], score: str
) -> list[ComparisonView]:
    """What the page shows of each comparison.

    Args:
        compared: with registered models.
        titles: of figures, by name, in the order to show them.
        score: the leading figure.
    """
    return [
        ComparisonView(
            alias=each.alias,
            verdict=verdict(each, score, titles[score]),
            rows=_rows(each, titles),
            comparison=each,
        )
        if isinstance(each, Comparison)
        else ComparisonView(alias=each.alias, verdict=f"Not compared with {each.alias}: {each.reason}.")
        for each in compared
    ]


def _rows(comparison: Comparison, titles: Mapping[str, str]) -> tuple[DifferenceRow, ...]:
    found = [difference for name in titles if (difference := comparison.of(name)) is not None]
    widest = max((max(map(abs, each.gain_interval)) for each in found if _is_share(each.metric)), default=0.0)
    return tuple(
        DifferenceRow(
            title=titles[each.metric],
            difference=each,
            gain=_signed(each.metric, each.gain),
            interval=" to ".join(_signed(each.metric, end).split(" ")[0] for end in each.gain_interval),
            span=_around_middle(each, widest) if _is_share(each.metric) and widest else None,
        )
        for each in found
    )


def slice_tables(
    slices: Sequence[Slice], *, score: str, second: str, slice_score: str, whole: float
) -> list[SliceTable]:
    """What the page shows of the slices, a table a column.

    Args:
        slices: of the test set.
        score: the leading figure.
        second: the one beside it.
        slice_score: the one to order by.
        whole: the leading figure of all of the test set.
    """
    tables = []
    for column in dict.fromkeys(each.column for each in slices):
        ordered = sorted(
            (each for each in slices if each.column == column), key=lambda each: strength(each, slice_score)
        )
        tables.append(
            SliceTable(
                column=column,
                rows=tuple(_slice_row(each, score, second) for each in ordered[:SLICE_ROWS]),
                cut=max(0, len(ordered) - SLICE_ROWS),
                whole=_percent(whole),
                some_small=any(each.is_small for each in ordered[:SLICE_ROWS]),
            )
        )
    return tables


def _slice_row(each: Slice, score: str, second: str) -> SliceRow:
    value, ends = each.summary.get(score), each.intervals.get(score)
    span = None
    if value is not None and ends is not None:
        span = Span(left=_percent(ends[0]), width=_percent(ends[1]) - _percent(ends[0]), dot=_percent(value))
    return SliceRow(slice=each, value=value, interval=ends, span=span, second=each.summary.get(second))


def _is_share(metric: str) -> bool:
    return metric not in RANGES


def _around_middle(each: Difference, widest: float) -> Span:
    low, high = (50 + 50 * end / widest for end in each.gain_interval)
    return Span(left=low, width=high - low, dot=min(100.0, max(0.0, 50 + 50 * each.gain / widest)))


def _signed(metric: str, value: float) -> str:
    sign = "+" if value > 0 else _MINUS if value < 0 else ""
    return f"{sign}{amount(metric, abs(value))}"


def _percent(value: float) -> float:
    return 100 * min(1.0, max(0.0, value))
