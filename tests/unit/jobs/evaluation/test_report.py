from __future__ import annotations

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from graftwork_jobs.evaluation import class_reporting, report
from graftwork_jobs.evaluation.comparison import Comparison, Difference, NotCompared, Turned
from graftwork_jobs.evaluation.history import EpochRecord
from graftwork_jobs.evaluation.report import write_report
from graftwork_jobs.evaluation.slices import Slice
from graftwork_jobs.search.records import SearchResult, TrialRecord
from tests.unit.jobs.evaluation.builders import content_with

_VOID = {"meta", "source", "img", "br"}


class _Page(HTMLParser):
    """Collects a page's tags, attributes and visible text, and checks that tags close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data


@pytest.fixture
def quick_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts one small picture in the place of every chart, where the test is not about charts: drawing takes seconds."""
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, format="PNG")
    for module, name in (
        (report, "learning_curve"),
        (class_reporting, "confusion_matrix"),
        (class_reporting, "reliability_diagram"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: stream.getvalue())


@pytest.fixture
def page(quick_charts: None, tmp_path: Path) -> _Page:
    """The page of an ordinary report."""
    return _Page(write_report(content_with(), tmp_path / "report").read_text(encoding="utf-8"))


def test_a_report_is_page_figures_and_charts(tmp_path: Path) -> None:
    """The directory holds the page, the figures and a PNG of every chart, nothing else, and nothing beside it."""
    path = write_report(content_with(), tmp_path / "report")
    assert path == tmp_path / "report" / "report.html"
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "calibration.png",
        "calibration_elsewhere.png",
        "confusion_matrix.png",
        "confusion_matrix_elsewhere.png",
        "learning_curve_accuracy.png",
        "learning_curve_loss.png",
        "metrics.json",
        "report.html",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    """Every picture is embedded and decodes; no script, no link elsewhere, and a policy that forbids both."""
    page = _Page(write_report(content_with(), tmp_path / "report").read_text(encoding="utf-8"))
    sources = [
        attributes.get("src") or attributes.get("srcset") for tag, attributes in page.tags if tag in {"img", "source"}
    ]
    assert len(sources) >= 9
    for source in sources:
        assert source is not None
        assert source.startswith("data:image/")
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
            image.load()
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    assert all((attributes["href"] or "").startswith("#") for tag, attributes in page.tags if tag == "a")
    policy = [attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_page_tells_what_the_feature_store_was_worth(page: _Page, tmp_path: Path) -> None:
    """Hits, size, seconds and engine of the phase that kept features; no word about the other."""
    assert "head: outputs of head_pool, 4 views of each training picture, 12.5 MB; 2 of 5 entries" in page.text
    assert "(40 %); 7.5 s spent on computing the others on OpenVINO (1.5 times as fast)" in page.text
    assert "tune: outputs of" not in page.text
    assert "and agreed: head in 1.2 s, tune in 1.2 s." in page.text
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert [phase["features"] and phase["features"]["hits"] for phase in figures["phases"]] == [2, None]


def test_every_section_link_leads_somewhere(page: _Page) -> None:
    """The navigation's targets are there."""
    targets = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"] for tag, attributes in page.tags if tag == "a"} <= targets


def test_the_page_tells_what_matters(page: _Page) -> None:
    """Accuracy, gain, findings, gates, warnings, spec and how to use the model are on it."""
    content = content_with()
    first = content.tests[0]
    gain = first.gain("accuracy")
    assert gain is not None
    for text in (
        f"{first.metrics.summary['accuracy']:.3f}",
        f"{gain:+.3f}",
        "A healthy run",
        "Too sure",
        "accuracy meets it.",
        "one picture is unreadable",
        "kind: FineTuneJob",
        "graft predict flowers a.jpg",
        "1 min 01 s",
    ):
        assert text in page.text


@pytest.mark.usefixtures("quick_charts")
@pytest.mark.parametrize("bad", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"])
def test_what_users_name_is_shown_not_executed(tmp_path: Path, bad: str) -> None:
    """Labels, sources, spec and sentences with markup appear as text."""
    content = content_with(labels=(bad, "b", "c"))
    content = replace(
        content,
        job=bad,
        spec_yaml=bad,
        warnings=(bad,),
        facts={bad: bad},
        mistakes=(replace(content.mistakes[0], source=bad),),
        tests=(content.tests[0], replace(content.tests[1], name="other")),
    )
    page = _Page(write_report(content, tmp_path / "report").read_text(encoding="utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert page.text.count(bad) >= 6


@pytest.mark.filterwarnings("error")
def test_any_label_can_be_drawn(tmp_path: Path) -> None:
    """Dollar signs are no mathematics, missing glyphs no failure, long names no overflow."""
    labels = ("$\\frac{$", "日本語のラベル", "عربى", "a_b^c%&#", "x" * 300)
    text = _Page(write_report(content_with(labels=labels), tmp_path / "report").read_text(encoding="utf-8")).text
    assert all(label in text for label in labels)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    """Reports can be compared and sealed by digest."""
    written = []
    for name in ("one", "two"):
        folder = write_report(content_with(), tmp_path / name).parent
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]


def test_a_thousand_classes_stay_readable(tmp_path: Path) -> None:
    """The matrix and the table are cut with a note; the figures hold all classes."""
    path = write_report(content_with(1000), tmp_path / "report")
    page = _Page(path.read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    assert "the other 976 are added up" in text
    assert "Shown are 40 of 1,000 classes; all are in metrics.json." in text
    assert len([tag for tag, _ in page.tags if tag == "tr"]) < 300
    assert path.stat().st_size < 3_000_000
    assert len(json.loads((path.parent / "metrics.json").read_text())["tests"]["test"]["perClass"]) == 1000


@pytest.mark.usefixtures("quick_charts")
def test_an_earlier_report_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Nothing of an earlier report stays."""
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "old.png").write_bytes(b"old")
    write_report(content_with(), folder)
    assert not (folder / "old.png").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


@pytest.mark.usefixtures("quick_charts")
def test_a_failure_leaves_the_earlier_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When writing fails halfway, the earlier report is untouched and no debris remains."""
    folder = tmp_path / "report"
    before = write_report(content_with(), folder).read_bytes()

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "render_page", full)
    with pytest.raises(OSError, match="No space"):
        write_report(replace(content_with(), job="other"), folder)
    assert (folder / "report.html").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


@pytest.mark.usefixtures("quick_charts")
def test_a_failed_rename_puts_the_earlier_report_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier report steps aside only as long as the new one comes."""
    folder = tmp_path / "report"
    before = write_report(content_with(), folder).read_bytes()
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if target == folder and self.name.startswith(".report-") and self.parent == tmp_path:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OSError, match="Input/output"):
        write_report(replace(content_with(), job="other"), folder)
    assert (folder / "report.html").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


def test_figures_are_json_even_when_training_broke_down(tmp_path: Path) -> None:
    """Losses that are not numbers are null in the figures and a dash or a gap on the page."""
    broken = EpochRecord(phase="tune", epoch=3, loss=math.nan, val_loss=math.inf, score=0.1, val_score=0.1)
    content = content_with()
    content = replace(content, history=(*content.history, broken))
    path = write_report(content, tmp_path / "report")
    figures = json.loads((path.parent / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert figures["history"][-1]["loss"] is None
    assert figures["tests"]["test"]["summary"] == content.tests[0].metrics.summary
    assert not re.search(r"\b(nan|inf)\b", _Page(path.read_text(encoding="utf-8")).text)


@pytest.mark.usefixtures("quick_charts")
def test_a_picture_that_cannot_be_read_any_more_leaves_a_place(tmp_path: Path) -> None:
    """One damaged picture does not spoil the report."""
    content = content_with()
    content = replace(content, mistakes=(replace(content.mistakes[0], picture=b"no picture"),))
    assert "not readable" in _Page(write_report(content, tmp_path / "report").read_text(encoding="utf-8")).text


@pytest.mark.usefixtures("quick_charts")
def test_a_bare_minimum_gives_a_report(tmp_path: Path) -> None:
    """Without history, gates, findings, baseline, mistakes and facts the page still stands."""
    whole = content_with()
    bare = replace(
        whole,
        phases=(),
        history=(),
        findings=(),
        tests=(replace(whole.tests[0], baseline=None),),
        gates=(),
        mistakes=(),
        facts={},
        timings={},
        environment={},
        lineage={},
        serve=(),
        warnings=(),
    )
    page = _Page(write_report(bare, tmp_path / "report").read_text(encoding="utf-8"))
    assert "Gain from pre-training" not in page.text
    assert "Test accuracy" in page.text


@pytest.mark.usefixtures("quick_charts")
def test_intervals_stand_beside_their_figures(tmp_path: Path) -> None:
    """Page and JSON hold both ends of each interval."""
    content = content_with()
    first = replace(content.tests[0], intervals={"accuracy": (0.8123, 0.9456)})
    page = write_report(replace(content, tests=(first, *content.tests[1:])), tmp_path / "report")
    assert "0.812\N{EN DASH}0.946" in _Page(page.read_text()).text
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert figures["tests"]["test"]["intervals"] == {"accuracy": [0.8123, 0.9456]}


@pytest.mark.usefixtures("quick_charts")
def test_a_search_tells_what_it_did_not_try(tmp_path: Path) -> None:
    """How many trials the budget left out, and values as a spec has them."""
    epoch = {"phase": "head", "epoch": 1, "val_loss": 0.5, "is_best": True}
    trials = tuple(
        TrialRecord(
            number=number, values=values, status="finished", score=0.5, history=(epoch,), seconds=1.0, until_s=1.0
        )
        for number, values in enumerate(({}, {"phases.tune.unfreeze": {"lastLayers": 5}}))
    )
    search = SearchResult(metric="val_loss", higher_is_better=False, planned=8, trials=trials)
    page = write_report(replace(content_with(), search=search), tmp_path / "report")
    text = " ".join(_Page(page.read_text()).text.split())
    assert "2 of 8 trials, after which the budget was used up, compared by val_loss" in text
    assert "{lastLayers: 5}" in text


@pytest.mark.usefixtures("quick_charts")
def test_comparison_slices_and_calibration_are_told(tmp_path: Path) -> None:
    """Each in a section of its own on the page, and in the figures."""
    content = content_with()
    difference = Difference(
        metric="accuracy", ours=0.94, theirs=0.9, low=0.01, high=0.07, p_value=0.004, test="mcnemar"
    )
    compared = Comparison(
        alias="champion",
        version=3,
        examples=400,
        differences=(difference,),
        turned=Turned(both=350, only_ours=26, only_theirs=10, neither=14),
        notes=("The other model also knows zebra.",),
    )
    part = Slice(
        column="camera",
        value="drone",
        examples=12,
        summary=content.tests[0].metrics.summary,
        intervals={"accuracy": (0.4, 0.9)},
    )
    first = replace(content.tests[0], before=content.tests[1].metrics)
    page = write_report(
        replace(
            content,
            tests=(first, *content.tests[1:]),
            compared=(compared, NotCompared(alias="staging", reason="it cannot be run: no file")),
            slices=(part,),
            settled=("The temperature is 2.",),
        ),
        tmp_path / "report",
    )
    text = " ".join(_Page(page.read_text()).text.split())
    for said in (
        "4.0 points better (95 % interval 1.0 to 7.0), beyond what chance would do",
        "only this model 26, only champion 10",
        "The other model also knows zebra.",
        "Not compared with staging: it cannot be run: no file.",
        "drone *",
        "The temperature is 2.",
        "Before calibration",
    ):
        assert said in text
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert figures["compared"][0]["differences"][0]["p_value"] == 0.004
    assert figures["slices"][0]["value"] == "drone"
    assert figures["tests"]["test"]["uncalibrated"] == content.tests[1].metrics.summary
    assert (tmp_path / "report" / "calibration_before.png").is_file()
