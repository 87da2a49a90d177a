from __future__ import annotations

from collections import Counter

import pytest

from graftwork.errors import RequestError
from graftwork_serving.routing import Arm, RoutedModel, route_models, sticky_arm
from tests.unit.serving.models import version

KEYS = [f"user {index}" for index in range(20_000)]


def arms(*shares: float) -> list[Arm]:
    return [
        Arm(reference=f"m@{chr(97 + index)}", model=version(str(index)), traffic=share)
        for index, share in enumerate(shares)
    ]


def chosen(members: list[Arm]) -> list[str]:
    return [sticky_arm(key, members).reference for key in KEYS]


def test_keys_are_shared_out_as_the_spec_says() -> None:
    """Each arm gets its share of many keys, within what chance allows (five standard deviations)."""
    counts = Counter(chosen(arms(70, 20, 10)))
    for reference, share in (("m@a", 0.7), ("m@b", 0.2), ("m@c", 0.1)):
        deviation = (share * (1 - share) / len(KEYS)) ** 0.5
        assert counts[reference] / len(KEYS) == pytest.approx(share, abs=5 * deviation)


def test_a_change_of_shares_moves_no_key_that_need_not_move() -> None:
    """From 90/10 to 80/20 a ninth of the first arm's keys moves to the second, and none moves back."""
    before, after = chosen(arms(90, 10)), chosen(arms(80, 20))
    moved = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
    assert set(moved) == {("m@a", "m@b")}
    assert moved["m@a", "m@b"] / len(KEYS) == pytest.approx(0.1, abs=0.012)


def test_a_new_version_behind_an_alias_keeps_its_keys() -> None:
    """Who is on the challenger stays on it when its alias moves."""
    first = arms(50, 50)
    moved = [first[0], Arm(reference="m@b", model=version("9"), traffic=50)]
    assert chosen(first) == chosen(moved)


def test_an_arm_without_traffic_gets_none() -> None:
    """Zero percent is none, by key and by chance, whichever place it has."""
    for shares in ((0, 100), (100, 0)):
        members = arms(*shares)
        model = RoutedModel(name="m", arms=tuple(members))
        busy = members[shares.index(100)]
        assert {sticky_arm(key, members) for key in KEYS[:500]} == {busy}
        assert {model.choose(None, draw / 100) for draw in range(100)} == {busy}


def test_requests_without_a_key_follow_the_draw() -> None:
    """The first arm gets draws below its share, the second the rest."""
    first, second = arms(90, 10)
    model = RoutedModel(name="m", arms=(first, second))
    assert [model.choose(None, draw) for draw in (0.0, 0.89, 0.91, 0.999999)] == [first, first, second, second]


def test_shadows_never_answer_but_can_be_asked() -> None:
    """No key and no draw reaches a shadow; its version in the URL does."""
    answering, shadow = arms(100, 100)
    shadow = Arm(reference=shadow.reference, model=shadow.model, shadow=1.0)
    model = route_models([shadow, answering])["m"]
    assert {model.choose(key, 0.5) for key in (None, *KEYS[:200])} == {answering}
    assert model.main is answering.model
    assert model.version("1") is shadow.model
    assert model.shadows == (shadow,)


def test_an_unknown_version_names_those_there_are() -> None:
    """404, with the versions to choose from."""
    with pytest.raises(RequestError, match="'0', '1'") as refused:
        route_models(arms(90, 10))["m"].version("7")
    assert refused.value.status == 404
