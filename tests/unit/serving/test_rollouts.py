from __future__ import annotations

from graftwork_serving.endpoint_config import ModelConfig, RollbackConfig
from graftwork_serving.rollouts import GivenUp, Rollouts, by_reference
from graftwork_serving.routing import Arm
from tests.unit.serving.models import version

BOUNDS = RollbackConfig(max_error_rate=0.1, max_latency_s=None, max_disagreement=0.5, window_s=60, min_requests=10)
CHAMPION = "flowers@champion"


def config(number: int, *, reference: str = CHAMPION, traffic: int = 100) -> ModelConfig:
    return ModelConfig(
        name="flowers",
        version=str(number),
        path=f"/bundles/{number}",
        digest=f"digest of {number}",
        reference=reference,
        source=f"flowers/{number}",
        alias="champion",
        traffic=traffic,
    )


class Replica:
    """Drives rollouts as a replica does, with a clock of its own and models that need no loading."""

    def __init__(self) -> None:
        self.rollouts = Rollouts()
        self.now_s = 0.0
        self.told: dict[str, GivenUp] = {}
        self.loaded: list[str] = []
        self.fetches = False

    def follow(self, *wanted: ModelConfig, bounds: RollbackConfig | None = BOUNDS) -> None:
        planned = [
            each.model_copy(update={"path": f"/fetched/{each.version}"}) if self.fetches else each
            for each in self.rollouts.plan(wanted, self.told, bounds)
        ]
        self.loaded = [each.version for each in planned]
        arms = [
            Arm(reference=each.reference, model=version(each.version, name=each.name), traffic=each.traffic)
            for each in planned
        ]
        self.rollouts.take(wanted, planned, arms, self.told, bounds, self.now_s)

    def serve(self, requests: int, *, failures: int = 0) -> None:
        for arm in self.rollouts.arms:
            for _ in range(requests - failures):
                self.rollouts.answered(arm.model, 0.01)
            for _ in range(failures):
                self.rollouts.failed(arm.model)

    def judge(self) -> list[GivenUp]:
        return self.rollouts.judge("e", self.now_s)

    @property
    def serving(self) -> list[str]:
        return [arm.model.version for arm in self.rollouts.arms]

    @property
    def kept(self) -> set[str]:
        return {model.version for model in self.rollouts.models}


def moved() -> Replica:
    """A replica whose champion has moved from version 3 to 4."""
    replica = Replica()
    replica.follow(config(3))
    replica.follow(config(4))
    return replica


def test_a_good_version_takes_over_and_the_old_one_goes_after_the_window() -> None:
    """The old version stays loaded while the new one is watched, and no longer."""
    replica = moved()
    assert (replica.serving, replica.kept) == (["4"], {"3", "4"})
    replica.serve(100)
    replica.rollouts.compared(replica.rollouts.arms[0].model, 20, 0)
    assert (replica.judge(), replica.kept) == ([], {"3", "4"})
    replica.now_s = 60
    assert (replica.judge(), replica.kept) == ([], {"4"})


def test_a_failing_version_is_given_up_for_the_old_one() -> None:
    """The old version answers in its place, with its share of the requests, and the record says why."""
    replica = Replica()
    replica.follow(config(3, traffic=90), config(1, reference="flowers/1", traffic=10))
    replica.follow(config(4, traffic=80), config(1, reference="flowers/1", traffic=20))
    replica.serve(10, failures=2)
    (record,) = replica.judge()
    assert replica.serving == ["3", "1"]
    assert replica.rollouts.arms[0].traffic == 80
    assert (record.bad.version, record.good.version, record.bound) == ("4", "3", "error-rate")
    assert "flowers@champion: version 4 was given up for version 3: 20.0% of 10 requests" in record.sentence
    assert (record.told.given_up, record.told.serving) == (record.bad.source, record.good.source)
    assert (replica.judge(), replica.kept) == ([], {"3", "1"})


def test_bundles_that_had_to_be_fetched_are_what_was_planned() -> None:
    """Where they are says nothing about what was given up."""
    replica = Replica()
    replica.fetches = True
    replica.follow(config(3))
    replica.follow(config(4))
    assert (replica.serving, replica.rollouts.given_up) == (["4"], {})
    replica.serve(10, failures=10)
    replica.judge()
    replica.follow(config(4))
    assert (replica.serving, [*replica.rollouts.given_up]) == (["3"], ["flowers flowers@champion"])


def test_a_version_given_up_is_not_tried_again_until_the_alias_moves() -> None:
    """Neither when the configuration is applied again nor in a changed one; after a move away and back it is."""
    replica = moved()
    replica.serve(10, failures=10)
    replica.judge()
    for traffic in (100, 50):
        replica.follow(config(4, traffic=traffic))
        assert (replica.serving, replica.loaded) == (["3"], ["3"])
    replica.follow(config(5))
    assert replica.serving == ["5"]
    replica.follow(config(4))
    assert replica.serving == ["4"]


def test_moving_the_alias_back_by_hand_is_no_takeover() -> None:
    """The version before is good already: nothing is watched, nothing else kept."""
    replica = moved()
    replica.serve(5, failures=5)
    replica.follow(config(3))
    replica.serve(10, failures=10)
    assert (replica.judge(), replica.serving, replica.kept) == ([], ["3"], {"3"})


def test_two_moves_in_a_row_go_back_to_the_last_good_version() -> None:
    """A version that was not watched to its end is nothing to go back to."""
    replica = moved()
    replica.follow(config(5))
    replica.serve(10, failures=10)
    (record,) = replica.judge()
    assert (record.bad.version, record.good.version, replica.serving) == ("5", "3", ["3"])


def test_disagreement_counts_against_the_version_that_is_watched() -> None:
    """The version before is named as the one to compare with, and what it says differently counts."""
    replica = moved()
    new = replica.rollouts.arms[0].model
    behind = replica.rollouts.behind(new)
    assert behind is not None
    assert behind.version == "3"
    assert replica.rollouts.behind(behind) is None
    replica.rollouts.compared(new, 10, 6)
    (record,) = replica.judge()
    assert record.bound == "disagreement"
    assert replica.rollouts.behind(new) is None


def test_other_replicas_follow_one_that_gave_a_version_up() -> None:
    """One that still has the old version switches at once; one that has not, and a new one, load it."""
    first, second, settled, newcomer = moved(), moved(), moved(), Replica()
    settled.serve(100)
    settled.rollouts.compared(settled.rollouts.arms[0].model, 20, 0)
    settled.now_s = 60
    settled.judge()
    assert settled.kept == {"4"}
    first.serve(10, failures=10)
    told = by_reference(first.judge())

    assert second.rollouts.hear(told) == (True, False)
    assert second.serving == ["3"]
    assert second.rollouts.hear(told) == (False, False)

    assert settled.rollouts.hear(told) == (False, True)
    settled.told = told
    settled.follow(config(4))
    assert (settled.serving, settled.loaded) == (["3"], ["3"])

    newcomer.told = told
    newcomer.follow(config(4))
    assert newcomer.serving == ["3"]
    newcomer.serve(10, failures=10)
    assert newcomer.judge() == []


def test_without_bounds_nobody_is_watched() -> None:
    """The old version goes at once."""
    replica = Replica()
    replica.follow(config(3), bounds=None)
    replica.follow(config(4), bounds=None)
    replica.serve(10, failures=10)
    assert (replica.judge(), replica.serving, replica.kept) == ([], ["4"], {"4"})


def test_without_bounds_what_was_given_up_is_served() -> None:
    """Whoever takes the bounds out of the spec wants what the alias points to, whoever gave it up."""
    replica = moved()
    replica.serve(10, failures=10)
    (record,) = replica.judge()
    assert replica.serving == ["3"]
    replica.told = by_reference([record])
    replica.follow(config(4), bounds=None)
    assert (replica.serving, replica.kept, replica.rollouts.given_up) == (["4"], {"4"}, {})


def test_a_changed_pin_is_the_users_own_decision() -> None:
    """Another reference in the spec is another arm: nothing to watch."""
    replica = Replica()
    replica.follow(config(3, reference="flowers/3"))
    replica.follow(config(4, reference="flowers/4"))
    replica.serve(10, failures=10)
    assert (replica.judge(), replica.serving) == ([], ["4"])
