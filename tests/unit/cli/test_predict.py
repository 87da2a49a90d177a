"""What `graft predict` asks and prints; the endpoint is a function here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from graftwork.cli.main import cli
from graftwork.cli.predict import _rows

Graft = Callable[..., Result]
_SCORES = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}


def _endpoint(request: httpx.Request) -> httpx.Response:
    """Takes pictures, which begin with `P`; of four labels it gives as many as are asked for."""
    if request.url.path == "/":
        return httpx.Response(200, json={"endpoint": "small"})
    if request.headers["content-type"].startswith("text/"):
        return httpx.Response(415, json={"error": "Content-Type 'text/plain' is not supported here."})
    if not request.content.startswith(b"P"):
        return httpx.Response(400, json={"error": "The bytes are no picture."})
    scores = dict(list(_SCORES.items())[: int(request.url.params["top"])])
    prediction = {"label": "a", "score": 0.4, "scores": scores}
    return httpx.Response(200, json={"model": "m", "version": "1", "predictions": [prediction]})


def _takes_texts(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/":
        return httpx.Response(200, json={"endpoint": "small"})
    return httpx.Response(400, json={"error": "The text is not UTF-8 (byte 0: invalid start byte)."})


@pytest.fixture
def graft(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Graft:
    """`graft predict` in a folder with a picture and a file that is none."""
    (tmp_path / "good.png").write_bytes(b"P")
    (tmp_path / "bad.png").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    client = httpx.Client

    def run(*arguments: str, endpoint: Callable[[httpx.Request], httpx.Response] = _endpoint) -> Result:
        transport = httpx.MockTransport(endpoint)
        monkeypatch.setattr("httpx.Client", lambda **options: client(transport=transport, **options))
        return CliRunner().invoke(cli, ["predict", "http://small", *arguments])

    return run


def test_labels_that_are_given_are_told_from_others() -> None:
    """Each label has a threshold of its own, which the reader does not see."""
    answer = {"labels": ["warm"], "scores": {"warm": 0.3, "bright": 0.4}}
    assert _rows("a.png", answer) == [("a.png", "warm", "0.3000 given"), ("", "bright", "0.4000")]


def test_the_best_class_needs_no_word() -> None:
    """It stands first."""
    assert _rows("a.png", {"label": "cat", "scores": {"cat": 0.9, "dog": 0.1}})[0] == ("a.png", "cat", "0.9000")


def test_json_holds_all_labels(graft: Graft) -> None:
    """A program that reads it misses none."""
    answers = json.loads(graft("good.png", "-o", "json").stdout)
    assert answers["good.png"]["scores"] == _SCORES


def test_json_holds_as_many_labels_as_asked_for(graft: Graft) -> None:
    """`--top` counts there, too."""
    answers = json.loads(graft("good.png", "-o", "json", "--top", "2").stdout)
    assert list(answers["good.png"]["scores"]) == ["a", "b"]


def test_a_table_shows_three_labels(graft: Graft) -> None:
    """People look at the best."""
    assert [line.split()[-2] for line in graft("good.png").stdout.splitlines()[1:]] == ["a", "b", "c"]


def test_bad_files_do_not_cost_the_answers_of_good_ones(graft: Graft) -> None:
    """They are told on stderr, each by its name, and the exit code says that something failed."""
    result = graft("bad.png", "gone.png", "good.png")
    assert result.exit_code == 1
    assert "good.png  a" in result.stdout
    assert result.stderr.splitlines() == [
        "bad.png: The bytes are no picture.",
        "gone.png: received no such file or directory, expected a file. Check the path.",
    ]


def test_json_has_an_entry_for_each_bad_file(graft: Graft) -> None:
    """Its `error` says why."""
    result = graft("bad.png", "gone.png", "good.png", "-o", "json")
    answers = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {name for name, answer in answers.items() if "error" in answer} == {"bad.png", "gone.png"}
    assert answers["good.png"]["label"] == "a"


def test_a_text_for_a_model_of_pictures_is_told_so(graft: Graft) -> None:
    """In words of the command rather than of HTTP."""
    result = graft("--text", "hi")
    assert (result.exit_code, "Name picture files, without --text." in result.stderr) == (1, True)


def test_a_picture_for_a_model_of_texts_is_told_so(graft: Graft) -> None:
    """Rather than that its bytes are no UTF-8."""
    result = graft("bad.png", endpoint=_takes_texts)
    assert (result.exit_code, "Name text files, or use --text." in result.stderr) == (1, True)


def test_a_line_end_in_a_name_breaks_no_table(graft: Graft, tmp_path: Path) -> None:
    """It is shown escaped."""
    (tmp_path / "a\nb.png").write_bytes(b"P")
    result = graft("a\nb.png", "--top", "1")
    assert result.stdout.splitlines()[1].split() == [r"a\nb.png", "a", "0.4000"]
