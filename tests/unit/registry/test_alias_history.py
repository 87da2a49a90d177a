"""What rolling back means."""

from __future__ import annotations

from typing import Literal

import pytest

from graftwork.registry.alias_history import AliasMove, read_moves, version_before


def moves(*steps: tuple[Literal["set", "rollback"], int]) -> list[AliasMove]:
    """Moves of one alias, one after the other."""
    return [AliasMove(alias="a", at_ns=at, kind=kind, version=version) for at, (kind, version) in enumerate(steps)]


def after(*steps: tuple[Literal["set", "rollback"], int], current: int, existing: range = range(1, 10)) -> int | None:
    """Where rolling back leads."""
    return version_before(moves(*steps), current, existing)


def test_leads_to_the_version_before() -> None:
    """One step back."""
    assert after(("set", 1), ("set", 2), current=2) == 1


def test_second_rollback_goes_further_back() -> None:
    """It does not come back to the version that was just left."""
    assert after(("set", 1), ("set", 2), ("set", 3), ("rollback", 2), current=2) == 1


def test_moving_on_after_a_rollback() -> None:
    """A version that was rolled back from is not returned to."""
    assert after(("set", 1), ("set", 2), ("rollback", 1), ("set", 3), current=3) == 1


def test_first_version_has_nothing_before() -> None:
    """There is no way back from the first."""
    assert after(("set", 1), current=1) is None
    assert after(("set", 1), ("set", 2), ("rollback", 1), current=1) is None


def test_returning_to_an_old_version_on_purpose_counts_as_a_step() -> None:
    """1, 2, 1: back leads to 2."""
    assert after(("set", 1), ("set", 2), ("set", 1), current=1) == 2


def test_deleted_versions_are_passed_over() -> None:
    """Only a version that exists can be returned to."""
    assert version_before(moves(("set", 1), ("set", 2), ("set", 3)), 3, {1, 3}) == 1


def test_move_that_was_recorded_but_cut_off() -> None:
    """The alias still points to 2; back leads to what came before 2."""
    assert after(("set", 1), ("set", 2), ("set", 3), current=2) == 1


def test_alias_moved_by_another_program() -> None:
    """Back leads to the last version we know of."""
    assert after(("set", 1), ("set", 2), current=7) == 2


def test_moves_come_back_from_tags_in_order() -> None:
    """What is written as tags is read again, whatever other tags there are."""
    given = moves(("set", 1), ("set", 12), ("rollback", 1))
    tags = dict(move.tag for move in reversed(given)) | {"owner": "me", "graftwork.alias.x": "?", "mlflow.note": "1"}
    assert read_moves(tags) == given


@pytest.mark.parametrize("alias", ["champion", "a.b", "blue-green"])
def test_alias_is_kept_whole_in_a_tag(alias: str) -> None:
    """Whatever an alias holds."""
    move = AliasMove(alias=alias, at_ns=1_700_000_000_000_000_000, kind="set", version=3)
    assert read_moves(dict([move.tag])) == [move]
