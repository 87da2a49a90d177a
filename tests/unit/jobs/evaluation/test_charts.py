from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from graftwork_jobs.evaluation.calibration import calibration_bins
from graftwork_jobs.evaluation.charts import Theme, confusion_matrix, learning_curve, reliability_diagram
from graftwork_jobs.evaluation.mistakes import confusion_view
from tests.unit.jobs.evaluation.builders import epochs


def _corner(png: bytes) -> tuple[int, ...]:
    with Image.open(io.BytesIO(png)) as image:
        colour = image.convert("RGB").getpixel((0, 0))
    assert isinstance(colour, tuple)
    return colour


def _charts(theme: Theme) -> list[bytes]:
    history = epochs("head", [1.0, 0.5], [1.1, 0.7], [0.5, 0.8], [0.5, 0.7])
    view = confusion_view(np.array([[3, 1], [0, 4]]), ("a", "b"), limit=10)
    bins = calibration_bins(np.linspace(0.4, 1, 50), np.arange(50) % 2 == 0)
    return [
        learning_curve("loss", history, {"head": 2}, theme, title="loss"),
        learning_curve("score", history, {"head": 2}, theme, title="accuracy"),
        confusion_matrix(view, theme),
        reliability_diagram(bins, theme),
    ]


@pytest.mark.parametrize(("theme", "bright"), [("light", True), ("dark", False)])
def test_charts_have_the_ground_of_their_theme(theme: Theme, bright: bool) -> None:
    """Light charts have a light ground, dark ones a dark."""
    for png in _charts(theme):
        assert (sum(_corner(png)) > 382) is bright


def test_drawing_leaves_no_trace_in_matplotlib() -> None:
    """Settings of the calling program stay as they are."""
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    _charts("dark")
    assert dict(mpl.rcParams) == before


def test_the_kept_epoch_changes_the_curve() -> None:
    """Marking another epoch draws another picture; the same one draws the same."""
    history = epochs("head", [1.0, 0.5], [1.1, 0.7], [0.5, 0.8], [0.5, 0.7])
    first, again, other = (learning_curve("loss", history, {"head": kept}, title="loss") for kept in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("classes", [2, 16, 17, 25])
def test_a_confusion_matrix_of_any_shown_size_fits_a_page(classes: int) -> None:
    """Up to the cap the picture stays below 1,600 pixels."""
    view = confusion_view(np.eye(classes, dtype=np.int64), tuple(f"label {i}" for i in range(classes)), limit=25)
    with Image.open(io.BytesIO(confusion_matrix(view))) as image:
        assert max(image.size) < 1600
