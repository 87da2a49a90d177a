"""`python ask.py URL KEY PICTURE SECONDS CONNECTIONS PAUSE_S [VERSION]`, in a pod: asks an endpoint, and tells.

With a version it ends once that has answered for three seconds, and fails if it never does.
The standard library and httpx only: it travels into the pod as text.
"""

import asyncio
import collections
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

Answers = list[dict[str, Any]]


class Asking:
    """How long to go on: so many seconds, or until a version answers."""

    def __init__(self, seconds: float, version: str | None) -> None:
        self.end = time.monotonic() + seconds
        self.version = version
        self.seen = version is None

    def note(self, version: str | None) -> None:
        """A version answered."""
        if not self.seen and version == self.version:
            self.seen = True
            self.end = time.monotonic() + 3

    @property
    def goes_on(self) -> bool:
        """Whether to ask again."""
        return time.monotonic() < self.end


async def _ask(
    client: httpx.AsyncClient, url: str, picture: bytes, asking: Asking, pause_s: float, answers: Answers
) -> None:
    while asking.goes_on:
        began = time.monotonic()
        try:
            answer = await client.post(url, content=picture)
            outcome, version = str(answer.status_code), answer.json().get("version") if answer.is_success else None
        except httpx.HTTPError as error:
            outcome, version = type(error).__name__, None
        answers.append({"outcome": outcome, "version": version, "seconds": time.monotonic() - began})
        asking.note(version)
        await asyncio.sleep(pause_s)


async def _all(client: httpx.AsyncClient, url: str, picture: bytes, asking: Asking, options: list[str]) -> Answers:
    connections, pause_s = int(options[0]), float(options[1])
    answers: Answers = []
    async with client:
        await asyncio.gather(*(_ask(client, url, picture, asking, pause_s, answers) for _ in range(connections)))
    return answers


def main() -> None:
    """Ask, and print one JSON object."""
    url, key, picture, seconds, *options = sys.argv[1:]
    asking = Asking(float(seconds), options[2] if len(options) > 2 else None)
    client = httpx.AsyncClient(timeout=120, headers={"x-api-key": key})
    answers = asyncio.run(_all(client, url, Path(picture).read_bytes(), asking, options))
    times = sorted(each["seconds"] for each in answers)
    result = {
        "requests": len(answers),
        "outcomes": collections.Counter(each["outcome"] for each in answers),
        "versions": collections.Counter(each["version"] for each in answers if each["version"]),
        "p50_s": times[len(times) // 2],
        "p99_s": times[len(times) * 99 // 100],
        "max_s": times[-1],
    }
    sys.stdout.write(json.dumps(result))
    if not asking.seen:
        sys.exit(f"version {asking.version} never answered")


main()
