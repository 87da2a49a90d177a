"""What an alias pointed to before. Pure; the registry stores one entry a move and asks here what they mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

_TAG_PREFIX = "graftwork.alias."


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One move of an alias.

    Attributes:
        alias: which one.
        at_ns: when, nanoseconds since 1970.
        kind: `set`, or `rollback` to the version before.
        version: where it points afterwards.
    """

    alias: str
    at_ns: int
    kind: Literal["set", "rollback"]
    version: int

    @property
    def tag(self) -> tuple[str, str]:
        """Key and value of the tag that records the move.

        Each move has a key of its own, so that two processes cannot overwrite each other's.
        """
        return f"{_TAG_PREFIX}{self.alias}.{self.at_ns:020d}", f"{self.kind} {self.version}"


def read_moves(tags: dict[str, str]) -> list[AliasMove]:
    """The moves recorded in a registered model's tags, oldest first."""
    moves = [move for key, value in tags.items() if (move := _read_move(key, value)) is not None]
    return sorted(moves, key=lambda move: move.at_ns)


def _read_move(key: str, value: str) -> AliasMove | None:
    alias, _, at_ns = key.removeprefix(_TAG_PREFIX).rpartition(".")
    kind, _, version = value.partition(" ")
    if not (key.startswith(_TAG_PREFIX) and alias and at_ns.isdigit() and version.isdigit()):
        return None
    match kind:
        case "set" | "rollback":
            return AliasMove(alias=alias, at_ns=int(at_ns), kind=kind, version=int(version))
        case _:
            return None


def version_before(moves: Iterable[AliasMove], current: int | None, existing: Collection[int]) -> int | None:
    """Where rolling back leads: to the version the alias pointed to before; a second time, to the one before that.

    Args:
        moves: of one alias, oldest first.
        current: version the alias points to now, which may not be the last recorded one: another program may have
            moved the alias, or a move was cut off after it had been recorded.
        existing: versions that still exist; others are passed over.

    Returns:
        None if there is no version before.
    """
    stack: list[int] = []
    for move in moves:
        if move.kind == "rollback" and move.version in stack:
            del stack[_last_index(stack, move.version) + 1 :]
        elif not stack or stack[-1] != move.version:
            stack.append(move.version)
    if current in stack:
        del stack[_last_index(stack, current) :]
    return next((version for version in reversed(stack) if version in existing and version != current), None)


def _last_index(stack: list[int], version: int) -> int:
    return len(stack) - 1 - stack[::-1].index(version)
