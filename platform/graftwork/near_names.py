"""Which known names a mistyped one may have meant. Pure; used by every "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CUTOFF = 0.6


def near_names(word: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """Known names that look like `word`, the likeliest first.

    Upper and lower case, hyphens and underscores make no difference (`learning_rate` finds `learningRate`).
    """
    by_key: dict[str, str] = {}
    for name in known:
        by_key.setdefault(_key(name), name)
    wanted = _key(word)
    if wanted in by_key:
        return [by_key[wanted]]
    return [by_key[key] for key in difflib.get_close_matches(wanted, by_key, n=limit, cutoff=_CUTOFF)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question such as "Did you mean `adam` or `adamw`?"; empty if nothing is near."""
    near = [f"`{name}`" for name in near_names(word, known)]
    match near:
        case []:
            return ""
        case [only]:
            return f"Did you mean {only}?"
        case _:
            return f"Did you mean {', '.join(near[:-1])} or {near[-1]}?"


def _key(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
