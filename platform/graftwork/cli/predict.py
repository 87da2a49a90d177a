"""`graft predict`: send files or texts to an endpoint and print the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graftwork.cli.console import print_json, print_table
from graftwork.cli.options import Output, output_option
from graftwork.errors import PermanentError, Problem, SpecError

if TYPE_CHECKING:
    import httpx

_TIMEOUT_S = 60.0
_ANY = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"

_NO_KEY = 401  # HTTP: unauthorized


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One input on its way to the endpoint.

    Attributes:
        data: content.
        media_type: what it is said to be.
    """

    data: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to send files.

    Attributes:
        url: the endpoint's, without a path.
        name: the endpoint's; None to ask it.
    """

    url: str
    name: str | None


@click.command("predict")
@click.argument("endpoint")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--text", "texts", multiple=True, help="A text to send; may be given several times.")
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="How many labels to show.")
@click.option("--model", help="Which model of the endpoint to ask; default is its first.")
@click.option("--api-key", help="Key of the endpoint; default is GRAFT_API_KEY, which other users do not see.")
@output_option
def command(
    endpoint: str,
    files: tuple[Path, ...],
    texts: tuple[str, ...],
    top: int,
    model: str | None,
    api_key: str | None,
    output: Output,
) -> None:
    """Send FILEs (pictures, or texts in UTF-8) or texts to ENDPOINT and print the answers.

    ENDPOINT is the name of an endpoint that runs here, its URL, or its spec file.
    """
    import httpx

    from graftwork.settings import load_settings

    if not files and not texts:
        raise click.UsageError("Name a FILE, or give a text with --text.")
    contents = {name: Sent(data=data, media_type=_ANY) for name, data in read_files(files).items()}
    contents |= {text: Sent(data=text.encode(), media_type=_TEXT) for text in texts}
    target = find_target(endpoint)
    key = api_key or load_settings().api_key
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=target.url, timeout=_TIMEOUT_S, trust_env=False, headers=headers) as client:
        try:
            answers = _ask(client, target, contents, top=top, model=model)
        except httpx.HTTPError as error:
            raise PermanentError(
                f"No answer from {target.url} ({error}). Is the endpoint running? See: graft endpoints list"
            ) from error
    if output == "json":
        print_json(answers)
        return
    print_table(("INPUT", "LABEL", "SCORE"), [row for file, answer in answers.items() for row in _rows(file, answer)])


def read_files(files: tuple[Path, ...]) -> dict[str, bytes]:
    """The content of all files, by the name the user gave.

    Raises:
        SpecError: some cannot be read; names them all.
    """
    contents: dict[str, bytes] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            contents[str(file)] = file.read_bytes()
        except OSError as error:
            problems.append(
                Problem(
                    where=str(file),
                    received=(error.strerror or str(error)).lower(),
                    expected="a file",
                    fix="Check the path.",
                )
            )
    if problems:
        raise SpecError(problems)
    return contents


def find_target(endpoint: str) -> Target:
    """What the ENDPOINT argument stands for.

    Raises:
        SpecError: it is neither a URL, nor a spec file, nor the name of a running endpoint.
    """
    if endpoint.startswith(("http://", "https://")):
        return Target(url=endpoint.rstrip("/"), name=None)
    if endpoint.endswith((".yaml", ".yml", ".json")) or Path(endpoint).is_file():
        endpoint = _name_in_file(Path(endpoint))
    from graftwork.endpoint_state import require_endpoint
    from graftwork.settings import load_settings

    state = require_endpoint(load_settings().endpoints_dir, endpoint)
    return Target(url=state.url, name=state.name)


def _name_in_file(file: Path) -> str:
    from graftwork.spec.inference_endpoint import InferenceEndpoint
    from graftwork.spec.load import load_only

    endpoint, _ = load_only(file, InferenceEndpoint)
    return endpoint.metadata.name


def _ask(
    client: httpx.Client, target: Target, contents: dict[str, Sent], *, top: int, model: str | None
) -> dict[str, Any]:
    """One request each, so that one bad input is told by its name."""
    name = target.name or _json(client.get("/"), target.url)["endpoint"]
    parameters: dict[str, str | int] = {"top": top} | ({"model": model} if model is not None else {})
    answers: dict[str, Any] = {}
    for file, sent in contents.items():
        response = client.post(
            f"/v1/endpoints/{name}/predict",
            params=parameters,
            content=sent.data,
            headers={"content-type": sent.media_type},
        )
        answer = _json(response, file)
        answers[file] = {"model": answer["model"], "version": answer["version"], **answer["predictions"][0]}
    return answers


def _json(response: httpx.Response, where: str) -> dict[str, Any]:
    try:
        content = response.json()
        if response.is_success and isinstance(content, dict):
            return content
        message = content["error"]
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"{where}: {response.url} answered with status {response.status_code}, but not as a Graftwork endpoint "
            "does. Check the URL."
        ) from error
    hint = " Give a key with --api-key or GRAFT_API_KEY." if response.status_code == _NO_KEY else ""
    raise PermanentError(f"{where}: {message}{hint}")


def _rows(file: str, answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    """One line a label or number; the file's name stands on its first one only."""
    if "values" in answer:
        cells = [(name, f"{value:.6g}") for name, value in answer["values"].items()]
    else:
        # Of several labels, those at or above their thresholds are given.
        given = set(answer.get("labels", ()))
        cells = [
            (label, f"{score:.4f} given" if label in given else f"{score:.4f}")
            for label, score in answer["scores"].items()
        ]
    return [(file if index == 0 else "", *cell) for index, cell in enumerate(cells)]
