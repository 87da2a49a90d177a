"""The page at an endpoint's root, used by a real browser."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
import pytest

from graftwork.bundle.answers import LabelAnswers, NumberAnswers, ScoreAnswers
from graftwork.metrics import ServingMetrics
from graftwork_serving.endpoint_config import PageConfig
from graftwork_serving.served_model import Example
from tests.support.bundles import picture_bytes
from tests.support.served import TopLeft, behind_key, behind_prefix, saying_app, saying_model, served

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PREFIX = "/team/flowers"
PICTURE = picture_bytes(seed=1)
# A label is the user's; it may hold anything.
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def pictures(metrics: ServingMetrics, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An endpoint of picture models of each kind, with an example, below a path prefix."""
    folder = tmp_path_factory.mktemp("playground")
    (folder / "0.png").write_bytes(PICTURE)
    example = Example(name="0.png", label="rose", path=folder / "0.png")
    models = [
        saying_model(
            "kinds",
            ScoreAnswers(("rose", EVIL, "tulip")),
            [0.9, 0.0625, 0.0375],
            examples=[example],
            explainer=TopLeft(3),
        ),
        saying_model("tags", LabelAnswers(("red", "wet", "wild"), np.asarray([0.5, 0.75, 0.25])), [0.6, 0.7, 0.3]),
        saying_model("sizes", NumberAnswers(("height_mm", "petals")), [123.456, 5.0]),
    ]
    with (
        saying_app(models, metrics, folder, page=PageConfig(examples=True)) as app,
        served(behind_prefix(app, PREFIX)) as url,
    ):
        yield url + PREFIX


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh tab that notes what goes wrong and what is asked for; nothing may lie elsewhere."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(20_000)
    errors: list[str] = []
    asked: list[SplitResult] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda line: errors.append(line.text) if "Security Policy" in line.text else None)
    tab.on("request", lambda request: asked.append(urlsplit(request.url)))
    yield tab
    context.close()
    assert errors == []
    assert {part.hostname for part in asked if part.scheme.startswith("http")} <= {"127.0.0.1"}


def choose(page: Any, *files: tuple[str, bytes]) -> None:
    """Choose files as a person does."""
    page.set_input_files(
        "#files", [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    )


def card(page: Any, number: int = 1) -> Any:
    """The n-th card from the top."""
    return page.locator(f"#cards > li:nth-child({number})")


def seen(locator: Any) -> str:
    """The text a person sees, once there is some."""
    locator.wait_for()
    return str(locator.inner_text())


def test_a_chosen_picture_gets_labels_bars_time_and_command(page: Any, pictures: str) -> None:
    """Behind a path prefix and without a final slash; the command is the one that asks the same."""
    page.goto(pictures)
    choose(page, ("my rose.png", PICTURE))
    assert seen(card(page).locator("h3")) == "rose\n90.0 %"
    rows = card(page).locator(".scores li")
    assert [seen(rows.nth(row)).split("\n") for row in range(3)] == [
        ["rose", "90.0 %"],
        [EVIL, "6.3 %"],
        ["tulip", "3.8 %"],
    ]
    widths = [rows.nth(row).locator("i").evaluate("bar => bar.style.width") for row in range(3)]
    assert [round(float(width.rstrip("%")), 2) for width in widths] == [90, 6.25, 3.75]
    assert " ms, " in seen(card(page).locator(".foot"))
    command = seen(page.locator("#curl"))
    assert command == f"curl --data-binary '@my rose.png' '{pictures}/v1/endpoints/e/predict?model=kinds'"


def test_several_pictures_get_a_card_each_and_a_bad_one_words(page: Any, pictures: str) -> None:
    """Cards come in the order of the files; the endpoint's own words say what is wrong with one."""
    page.goto(pictures + "/")
    choose(page, ("a.png", PICTURE), ("notes.png", b"hello"), ("b.png", PICTURE))
    assert seen(card(page, 1).locator("h3")).startswith("rose")
    assert "no picture in a known format" in seen(card(page, 2).locator(".problem"))
    assert "b.png" in seen(card(page, 3).locator(".foot"))
    assert "-F file=@a.png -F file=@notes.png -F file=@b.png" in seen(page.locator("#curl"))
    page.click("#clear")
    page.locator("#results").wait_for(state="hidden")


def test_a_file_of_another_kind_gets_words_about_pictures(page: Any, pictures: str) -> None:
    """Nobody who drops a file has heard of content types; one that is a picture under a wrong name is answered."""
    page.goto(pictures + "/")
    files = [("a.html", b"<html></html>"), ("b.html", PICTURE)]
    page.set_input_files("#files", [{"name": name, "mimeType": "text/html", "buffer": data} for name, data in files])
    assert "no picture in a known format" in seen(card(page, 1).locator(".problem"))
    assert seen(card(page, 2).locator("h3")).startswith("rose")


def test_a_file_beyond_the_limit_is_not_sent(page: Any, pictures: str) -> None:
    """The endpoint says its limit, and the page does not upload in vain."""
    page.goto(pictures)
    page.locator("#examples button").wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    choose(page, ("large.png", bytes(200_000)))
    assert seen(card(page).locator(".problem")) == "This file has 0.2 MB; this endpoint takes 0.1 MB at most."
    assert "POST" not in asked


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_pictures_can_be_dropped_and_pasted(page: Any, pictures: str, way: str) -> None:
    """Anywhere on the page."""
    page.goto(pictures)
    page.locator("#examples button").wait_for()
    page.evaluate(
        """([way, content]) => {
            const data = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), each => each.charCodeAt(0));
            data.items.add(new File([bytes], "moved.png", { type: "image/png" }));
            const event = way === "drop"
                ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
            document.body.dispatchEvent(event);
        }""",
        [way, base64.b64encode(PICTURE).decode()],
    )
    assert seen(card(page).locator("h3")).startswith("rose")


def test_every_kind_of_answer_has_its_form(page: Any, pictures: str) -> None:
    """Labels at or above their thresholds with a mark where these are; numbers by their names."""
    page.goto(pictures)
    page.select_option("#model", "tags")
    page.locator("#about", has_text="tags, version 7").wait_for()
    choose(page, ("a.png", PICTURE))
    assert [seen(chip) for chip in (card(page).locator(".chip").nth(0), card(page).locator(".chip").nth(1))] == [
        "red",
        "wild",
    ]
    marks = card(page).locator(".scores b")
    titles = [marks.nth(row).get_attribute("title") for row in range(3)]
    assert titles == ["Threshold 75.0 %", "Threshold 50.0 %", "Threshold 25.0 %"]
    page.select_option("#model", "sizes")
    page.locator("#about", has_text="answers with height_mm and petals").wait_for()
    choose(page, ("a.png", PICTURE))
    assert seen(card(page).locator(".values")).split() == ["height_mm", "123.456", "petals", "5"]


def test_a_label_shows_what_speaks_for_it(page: Any, pictures: str) -> None:
    """A heat map lies exactly over the picture, goes when its label is selected again, and says when nothing speaks."""
    page.goto(pictures)
    choose(page, ("a.png", PICTURE))
    names, note = card(page).locator(".name button"), card(page).locator("figcaption")
    assert seen(note) == "Select a label to see what speaks for it."
    names.nth(0).click()
    page.locator("figcaption", has_text="Warm: what speaks for rose").wait_for()
    assert names.nth(0).get_attribute("aria-pressed") == "true"
    heat, picture = card(page).locator(".heat"), card(page).locator(".view img").nth(0)
    assert heat.bounding_box() == picture.bounding_box()
    assert heat.evaluate("async image => (await image.decode(), image.naturalWidth)") == 48
    names.nth(1).click()
    page.locator("figcaption", has_text=f"Warm: what speaks for {EVIL}").wait_for()
    assert heat.count() == 1
    names.nth(2).click()
    page.locator("figcaption", has_text="Nothing in the picture speaks for tulip").wait_for()
    names.nth(2).click()
    page.locator("figcaption", has_text="Select a label").wait_for()
    assert heat.count() == 0
    page.select_option("#model", "tags")
    page.locator("#about", has_text="tags, version 7").wait_for()
    choose(page, ("a.png", PICTURE))
    card(page).locator(".name button").nth(0).click()
    page.locator("figcaption", has_text="heat maps are for pictures").wait_for()


def test_the_keyboard_is_enough_and_answers_are_announced(page: Any, pictures: str) -> None:
    """From an example to an answer by Tab and Enter; a screen reader hears it."""
    page.goto(pictures)
    page.locator("#examples button").wait_for()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.locator("#examples button:focus").count():
            break
    page.keyboard.press("Enter")
    page.locator("#status", has_text="0.png: rose, 90.0 %").wait_for(state="attached")
    assert page.locator("#files").evaluate("input => input.closest('label').innerText").startswith("Choose pictures")


def test_texts_are_asked_and_shown_as_they_are(page: Any, metrics: ServingMetrics, tmp_path: Path) -> None:
    """What is typed is never taken for HTML, neither in the card nor in the command's quotes."""
    text = 'It\'s <b>fine</b> & "good"'
    model = saying_model("mood", ScoreAnswers(("bad", "good")), [0.25, 0.75], is_text=True)
    with saying_app([model], metrics, tmp_path) as app, served(app) as url:
        page.goto(url)
        page.fill("#text", text)
        page.keyboard.press("Control+Enter")
        assert seen(card(page).locator("h3")) == "good\n75.0 %"
        assert seen(card(page).locator("blockquote")) == text
        quoted = text.replace("'", "'\\''")
        assert seen(page.locator("#curl")) == f"curl --data-raw '{quoted}' {url}/v1/endpoints/e/predict"
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.click("#copy")
        page.locator("#copy", has_text="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == page.locator("#curl").inner_text()


def test_a_key_is_asked_for_used_and_kept_nowhere(page: Any, metrics: ServingMetrics, tmp_path: Path) -> None:
    """The page works behind API keys; the key is neither stored nor shown in the command."""
    model = saying_model("kinds", ScoreAnswers(("rose", "tulip")), [0.75, 0.25])
    with saying_app([model], metrics, tmp_path) as app, served(behind_key(app, "sesame")) as url:
        page.goto(url)
        assert seen(page.locator("#about")) == "This endpoint asks for an API key."
        page.fill("#key", "sesame")
        page.keyboard.press("Enter")
        page.locator("#about", has_text="answers with rose or tulip").wait_for()
        choose(page, ("a.png", PICTURE))
        assert seen(card(page).locator("h3")).startswith("rose")
        assert 'curl -H "Authorization: Bearer $API_KEY" --data-binary @a.png' in seen(page.locator("#curl"))
        kept = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
        assert kept == [0, 0, ""]


def test_a_picture_that_comes_early_is_answered_once_it_is_known_by_what(
    page: Any, metrics: ServingMetrics, tmp_path: Path
) -> None:
    """A person may be quicker than the page; here the page waits for a key."""
    model = saying_model("kinds", ScoreAnswers(("rose", "tulip")), [0.75, 0.25])
    with saying_app([model], metrics, tmp_path) as app, served(behind_key(app, "sesame")) as url:
        page.goto(url)
        page.locator("#about", has_text="asks for an API key").wait_for()
        choose(page, ("early.png", PICTURE))
        page.fill("#key", "sesame")
        page.keyboard.press("Enter")
        assert seen(card(page).locator("h3")).startswith("rose")
        assert page.locator("#cards > li").count() == 1
        assert "--data-binary @early.png" in seen(page.locator("#curl"))


def test_an_endpoint_that_is_gone_is_said_in_words(page: Any, metrics: ServingMetrics, tmp_path: Path) -> None:
    """And the question can be put again."""
    model = saying_model("kinds", ScoreAnswers(("rose", "tulip")), [0.75, 0.25])
    with saying_app([model], metrics, tmp_path) as app, served(app) as url:
        page.goto(url)
        page.locator("#for-pictures").wait_for()
    choose(page, ("a.png", PICTURE))
    assert "cannot be reached" in seen(card(page).locator(".problem"))
    assert seen(card(page).locator("button")) == "Try again"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_it_is_accessible_and_fits(browser: Any, pictures: str, scheme: str, width: int) -> None:
    """No violation of the rules of axe (contrast, names, roles), and nothing to scroll sideways, on phones too."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="run with: pip install axe-playwright-python"
    )
    # The rules are put into the page as a script, which its policy would forbid.
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True, reduced_motion="reduce"
    )
    tab = context.new_page()
    tab.goto(pictures)
    choose(tab, ("a-file-with-quite-a-long-name-that-does-not-end.png", PICTURE), ("notes.png", b"hello"))
    card(tab, 1).locator("h3").wait_for()
    card(tab, 2).locator(".problem").wait_for()
    results = axe.Axe().run(tab)
    assert results.violations_count == 0, results.generate_report()
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
