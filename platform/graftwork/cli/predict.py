"""`graft predict`: send files or texts to an endpoint and print the answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graftwork.cli.console import on_one_line, print_json, print_table
from graftwork.cli.options import Output, output_option
from graftwork.data_files.kinds import is_picture
from graftwork.errors import PermanentError, Problem, SpecError

if TYPE_CHECKING:
    import httpx

_TIMEOUT_S = 60.0
_ANY = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"

_TOP = 3
_ALL = 999_999_999

_NO_KEY = 401  # HTTP: unauthorized
_NO_SUCH_TYPE = 415  # HTTP: unsupported media type
# What the endpoint says of one input would be said of every other: no key, no right, no such model.
_OF_ALL = frozenset({_NO_KEY, 403, 404})


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
@click.option("--top", type=click.IntRange(min=1), help="How many labels to show; default is 3, all with -o json.")
@click.option("--model", help="Which model of the endpoint to ask; default is its first.")
@click.option("--api-key", help="Key of the endpoint; default is GRAFT_API_KEY, which other users do not see.")
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    endpoint: str,
    files: tuple[Path, ...],
    texts: tuple[str, ...],
    top: int | None,
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
    read, unreadable = read_files(files)
    if unreadable and not read and not texts:
        raise SpecError(unreadable)
    contents = {name: Sent(data=data, media_type=_ANY) for name, data in read.items()}
    contents |= {text: Sent(data=text.encode(), media_type=_TEXT) for text in texts}
    target = find_target(endpoint)
    key = api_key or load_settings().api_key
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=target.url, timeout=_TIMEOUT_S, trust_env=False, headers=headers) as client:
        try:
            top = top or (_ALL if output == "json" else _TOP)
            answers = _ask(client, target, contents, top=top, model=model)
        except httpx.HTTPError as error:
            raise PermanentError(
                f"No answer from {target.url} ({error}). Is the endpoint running? See: graft endpoints list"
            ) from error
    answers |= {problem.where: {"error": str(problem).removeprefix(f"{problem.where}: ")} for problem in unreadable}
    _print(answers, output)
    if any("error" in answer for answer in answers.values()):
        ctx.exit(1)


def _print(answers: dict[str, dict[str, Any]], output: Output) -> None:
    """The answers on stdout; what was refused on stderr, unless programs read the answers."""
    if output == "json":
        print_json(answers)
        return
    rows = [row for file, answer in answers.items() if "error" not in answer for row in _rows(file, answer)]
    if rows:
        print_table(("INPUT", "LABEL", "SCORE"), rows)
    for file, answer in answers.items():
        if "error" in answer:
            click.echo(f"{on_one_line(file)}: {answer['error']}", err=True)


def read_files(files: tuple[Path, ...]) -> tuple[dict[str, bytes], list[Problem]]:
    """The content of all files by the name the user gave, and what is wrong with those that cannot be read."""
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
    return contents, problems


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
) -> dict[str, dict[str, Any]]:
    """Answers by input, `error` alone where one was refused; one request each.

    Raises:
        PermanentError: whoever answers is no endpoint, or refuses all inputs.
    """
    name = target.name or _described(client.get("/"), target.url)
    parameters: dict[str, str | int] = {"top": top} | ({"model": model} if model is not None else {})
    answers: dict[str, dict[str, Any]] = {}
    for file, sent in contents.items():
        response = client.post(
            f"/v1/endpoints/{name}/predict",
            params=parameters,
            content=sent.data,
            headers={"content-type": sent.media_type},
        )
        content = _content(response, file)
        if response.is_success:
            first = content["predictions"][0]
            answers[file] = {"model": content["model"], "version": content["version"], **first}
        else:
            answers[file] = {"error": _other_kind(file, sent, response.status_code, content) or content["error"]}
    return answers


def _described(response: httpx.Response, url: str) -> str:
    """The name of the endpoint that answers there."""
    content = _content(response, url)
    if not response.is_success:
        raise PermanentError(f"{url}: {content['error']}")
    return str(content["endpoint"])


def _content(response: httpx.Response, where: str) -> dict[str, Any]:
    """What an endpoint answered; `error` says why it refused.

    Raises:
        PermanentError: it is no endpoint's answer, or one that holds for every input.
    """
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
    if response.status_code in _OF_ALL:
        hint = " Give a key with --api-key or GRAFT_API_KEY." if response.status_code == _NO_KEY else ""
        raise PermanentError(f"{where}: {message}{hint}")
    return {"error": message}


def _other_kind(file: str, sent: Sent, status: int, refusal: dict[str, Any]) -> str | None:
    """What to say of a text for a model of pictures or the other way round; None for any other refusal."""
    if sent.media_type == _TEXT and status == _NO_SUCH_TYPE:
        return "received a text, expected a picture, which is what the model takes. Name picture files, without --text."
    if sent.media_type == _ANY and is_picture(file) and "UTF-8" in str(refusal["error"]):
        return "received a picture, expected a text, which is what the model takes. Name text files, or use --text."
    return None


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
