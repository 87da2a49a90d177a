"""Charts of the report as PNG, drawn with matplotlib's Agg canvas and no global state. Same input, same bytes."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from graftwork_jobs.evaluation.calibration import CalibrationBin
from graftwork_jobs.evaluation.history import EpochRecord, by_phase
from graftwork_jobs.evaluation.label_metrics import LabelMetrics
from graftwork_jobs.evaluation.mistakes import ConfusionView
from graftwork_jobs.evaluation.number_metrics import NumberMetrics
from graftwork_jobs.search.records import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Theme = Literal["light", "dark"]
Curve = Literal["loss", "score"]

_DPI = 160
# Numbers fit into the cells of a confusion matrix up to this many classes.
_NUMBERED_CLASSES = 16
_LABEL_LENGTH = 22
# Up to this many epochs each is marked with a dot.
_MARKED_EPOCHS = 40
# Above this share a cell is dark enough for light numbers.
_DEEP_SHARE = 0.55
# The accuracy of fewer examples than this is drawn pale: it says little.
_FEW_EXAMPLES = 5
# More numbers than this are only in the table.
_MOST_PANELS = 6
# More labels than this cannot be told apart by their shade.
_MOST_CURVES = 5


@dataclass(frozen=True, kw_only=True)
class _Palette:
    """Colours as in report.css."""

    ground: str
    ink: str
    muted: str
    grid: str
    first: str
    second: str
    map_low: str
    map_high: str


_PALETTES: Final[dict[Theme, _Palette]] = {
    "light": _Palette(
        ground="#ffffff",
        ink="#1c2430",
        muted="#6a7585",
        grid="#e4e8ee",
        first="#8a94a6",
        second="#0f766e",
        map_low="#ffffff",
        map_high="#0f766e",
    ),
    "dark": _Palette(
        ground="#161b22",
        ink="#e6ebf2",
        muted="#94a0b2",
        grid="#2a313c",
        first="#7d899c",
        second="#2dd4bf",
        map_low="#161b22",
        map_high="#2dd4bf",
    ),
}


def learning_curve(
    what: Curve, history: Sequence[EpochRecord], kept_epochs: Mapping[str, int], theme: Theme = "light", *, title: str
) -> bytes:
    """Loss or score over all phases, with the phases' boundaries and the kept epochs marked.

    Args:
        what: which of the two.
        history: all epochs, in order.
        kept_epochs: the epoch whose weights each phase ended with, by phase.
        theme: colours.
        title: name of the figure.
    """

    def draw(figure: Figure, palette: _Palette) -> None:
        axes = figure.subplots()
        _curves(axes, history, kept_epochs, palette, what)
        axes.set_title(title, loc="left", color=palette.ink, fontsize=11, fontweight="bold", pad=20)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, labelcolor=palette.ink)

    return _png((5.0, 3.9), theme, draw)


def trial_scores(search: SearchResult, theme: Theme = "light") -> bytes:
    """What each trial of a search reached, the best so far as a line.

    Args:
        search: the trials; those that failed leave a gap.
        theme: colours.
    """

    def draw(figure: Figure, palette: _Palette) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        better = max if search.higher_is_better else min
        so_far: list[tuple[int, float]] = []
        for trial in search.trials:
            if trial.status == "finished" and trial.score is not None:
                so_far.append((trial.number, better(trial.score, so_far[-1][1]) if so_far else trial.score))
        axes.step(*zip(*so_far, strict=True), where="post", color=palette.first, linewidth=1.2, label="best so far")
        for status, filled in (("finished", True), ("stopped", False)):
            shown = [trial for trial in search.trials if trial.status == status and trial.score is not None]
            axes.plot(
                [trial.number for trial in shown],
                [_number(trial.score) for trial in shown],
                linestyle="none",
                marker="o",
                color=palette.second,
                markerfacecolor=palette.second if filled else "none",
                label="trained to the end" if filled else "ended early",
            )
        if search.best is not None:
            axes.plot(
                [search.best.number],
                [_number(search.best.score)],
                linestyle="none",
                marker="o",
                markersize=13,
                markerfacecolor="none",
                color=palette.ink,
                label="chosen",
            )
        axes.set(xlabel="trial", ylabel=search.metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, labelcolor=palette.ink)

    return _png((7.0, 3.9), theme, draw)


def confusion_matrix(view: ConfusionView, theme: Theme = "light") -> bytes:
    """A confusion matrix; colour is the share of the true class, numbers are examples.

    Args:
        view: the classes to show.
        theme: colours.
    """
    classes = len(view.labels)
    side = min(9.6, 2.6 + 0.42 * classes)

    def draw(figure: Figure, palette: _Palette) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.subplots()
        share = view.matrix / np.maximum(view.matrix.sum(axis=1, keepdims=True), 1)
        colours = LinearSegmentedColormap.from_list("share", [palette.map_low, palette.map_high])
        axes.imshow(share, cmap=colours, vmin=0, vmax=1)
        names = [_short(label) for label in view.labels]
        axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names)
        axes.tick_params(labelsize=9 if classes <= _NUMBERED_CLASSES else 7, length=0)
        axes.set_xlabel("predicted", color=palette.muted)
        axes.set_ylabel("true", color=palette.muted)
        axes.grid(visible=False)
        if classes <= _NUMBERED_CLASSES:
            _numbers(axes, view, share, palette)

    return _png((side, side), theme, draw)


def reliability_diagram(
    bins: Sequence[CalibrationBin],
    theme: Theme = "light",
    *,
    said: str = "confidence",
    held: str = "accuracy",
    counted: str = "examples",
) -> bytes:
    """Accuracy over confidence, above how the predictions spread over confidence.

    Args:
        bins: the calibration bins.
        theme: colours.
        said: what the model gives.
        held: what it is held against.
        counted: what falls into the bins.
    """

    def draw(figure: Figure, palette: _Palette) -> None:
        from matplotlib.patches import Patch

        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        middles = [(row.low + row.high) / 2 for row in bins]
        width = 0.92 * (bins[0].high - bins[0].low)
        upper.plot([0, 1], [0, 1], color=palette.muted, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
        heights = [row.accuracy or 0.0 for row in bins]
        bars = upper.bar(middles, heights, width, color=palette.second)
        for bar, row in zip(bars, bins, strict=True):
            bar.set_alpha(0.25 if row.examples < _FEW_EXAMPLES else 0.85)
        seen = [row for row in bins if row.confidence is not None]
        upper.plot(
            [(row.low + row.high) / 2 for row in seen],
            [row.confidence for row in seen],
            linestyle="none",
            marker="_",
            markersize=11,
            markeredgewidth=2,
            color=palette.ink,
            label=f"mean {said}",
        )
        upper.set(ylim=(0, 1.02), xlim=(0, 1), ylabel=held)
        handles = [*upper.get_legend_handles_labels()[0], Patch(color=palette.second, alpha=0.85, label=held)]
        figure.legend(
            handles=handles, loc="outside upper left", ncols=3, frameon=False, labelcolor=palette.ink, fontsize=9
        )
        lower.bar(middles, [row.examples for row in bins], width, color=palette.first)
        lower.set(xlabel=said, ylabel=counted)

    return _png((5.2, 4.6), theme, draw)


def predicted_over_true(metrics: NumberMetrics, theme: Theme = "light") -> bytes:
    """Predicted over true values, one panel a number.

    Args:
        metrics: of a regression.
        theme: colours.
    """
    shown = metrics.rows[:_MOST_PANELS]
    columns = min(len(shown), 2)
    lines = math.ceil(len(shown) / columns)

    def draw(figure: Figure, palette: _Palette) -> None:
        panels = figure.subplots(lines, columns, squeeze=False)
        for place, panel in enumerate(panels.flat):
            if place >= len(shown):
                panel.set_visible(False)
                continue
            truth, said = metrics.truths[:, place], metrics.predictions[:, place]
            ends = [float(min(truth.min(), said.min())), float(max(truth.max(), said.max()))]
            panel.plot(ends, ends, color=palette.muted, linewidth=1, linestyle=(0, (4, 3)))
            panel.plot(truth, said, linestyle="none", marker="o", markersize=3, alpha=0.5, color=palette.second)
            panel.set_title(_short(shown[place].name), loc="left", color=palette.ink, fontsize=10)
            panel.set(xlabel="true", ylabel="predicted")

    return _png((5.2 if columns > 1 else 4.2, 0.6 + 3.4 * lines / columns + 0.4), theme, draw)


def precision_over_recall(metrics: LabelMetrics, theme: Theme = "light") -> bytes:
    """Precision over recall of all answers together and of the weakest labels, with the chosen thresholds as points.

    Args:
        metrics: of a multi-label classifier.
        theme: colours.
    """
    from sklearn.metrics import precision_recall_curve

    known = [
        (row.average_precision, place) for place, row in enumerate(metrics.rows) if row.average_precision is not None
    ]
    weakest = [place for _, place in sorted(known)[:_MOST_CURVES]]

    def draw(figure: Figure, palette: _Palette) -> None:
        axes = figure.subplots()
        if metrics.truths.any():
            precision, recall, _ = precision_recall_curve(metrics.truths.ravel(), metrics.predictions.ravel())
            axes.step(recall, precision, where="post", color=palette.ink, linewidth=2, label="all together")
        for number, place in enumerate(weakest):
            row = metrics.rows[place]
            precision, recall, _ = precision_recall_curve(metrics.truths[:, place], metrics.predictions[:, place])
            shade = 1.0 - 0.7 * number / max(len(weakest), 1)
            (line,) = axes.step(
                recall,
                precision,
                where="post",
                color=palette.second,
                alpha=shade,
                linewidth=1.2,
                label=_short(row.label),
            )
            axes.plot(row.recall or 0.0, row.precision, marker="o", markersize=4, color=line.get_color(), alpha=shade)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.05))
        axes.legend(frameon=False, fontsize=8, labelcolor=palette.ink)

    return _png((5.2, 4.0), theme, draw)


def _curves(
    axes: Axes,
    history: Sequence[EpochRecord],
    kept_epochs: Mapping[str, int],
    palette: _Palette,
    what: Curve,
) -> None:
    from matplotlib.ticker import MaxNLocator

    phases = by_phase(history)
    training: list[float] = []
    validation: list[float] = []
    kept: list[int] = []
    start = 0
    for name, records in phases.items():
        training += [_number(getattr(record, what)) for record in records]
        validation += [_number(getattr(record, f"val_{what}")) for record in records]
        kept += [start + place for place, record in enumerate(records, 1) if record.epoch == kept_epochs.get(name)]
        _phase_mark(axes, name, start, len(records), palette)
        start += len(records)
    epochs = np.arange(1, len(training) + 1)
    point = "o" if len(epochs) <= _MARKED_EPOCHS else ""
    axes.plot(epochs, training, color=palette.first, linewidth=1.8, marker=point, markersize=3, label="training")
    axes.plot(epochs, validation, color=palette.second, linewidth=2.2, marker=point, markersize=3, label="validation")
    axes.plot(
        kept,
        [validation[epoch - 1] for epoch in kept],
        linestyle="none",
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgewidth=1.8,
        color=palette.ink,
        label="kept epoch",
    )
    axes.set_xlabel("epoch")
    axes.set_xlim(0.5, max(len(epochs), 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if what == "score":
        axes.set_ylim(top=1.02)
    else:
        axes.set_ylim(bottom=0)


def _phase_mark(axes: Axes, name: str, start: int, epochs: int, palette: _Palette) -> None:
    if start:
        axes.axvline(start + 0.5, color=palette.muted, linewidth=1, linestyle=(0, (2, 3)))
    axes.annotate(
        _short(name),
        xy=(start + 0.5 + epochs / 2, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        color=palette.muted,
        fontsize=9,
    )


def _numbers(
    axes: Axes, view: ConfusionView, share: np.ndarray[tuple[int, ...], np.dtype[np.float64]], palette: _Palette
) -> None:
    for (row, column), examples in np.ndenumerate(view.matrix):
        if examples:
            colour = palette.map_low if share[row, column] > _DEEP_SHARE else palette.ink
            axes.text(column, row, f"{examples:,}", ha="center", va="center", color=colour, fontsize=9)


def _number(value: float | None) -> float:
    """A value to plot; what is missing or infinite becomes a gap."""
    return value if value is not None and np.isfinite(value) else float("nan")


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…"


def _png(size: tuple[float, float], theme: Theme, draw: Callable[[Figure, _Palette], None]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    palette = _PALETTES[theme]
    stream = io.BytesIO()
    with _style(palette):
        figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, palette)
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


@contextmanager
def _style(palette: _Palette) -> Iterator[None]:
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "axes.axisbelow": True,
        "axes.edgecolor": palette.grid,
        "axes.facecolor": palette.ground,
        "axes.grid": True,
        "axes.labelcolor": palette.muted,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.facecolor": palette.ground,
        "font.family": ["DejaVu Sans"],
        "font.size": 10,
        "grid.color": palette.grid,
        "grid.linewidth": 0.8,
        # Labels are the user's: a dollar sign in one is a dollar sign, not mathematics.
        "text.parse_math": False,
        "text.usetex": False,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A label in a script the font lacks shows as boxes in the PNG; the page itself has the text.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support", category=UserWarning)
        yield
