"""Versions that take over from others in one replica: who serves, who waits behind, what was given up. No I/O.

The replica asks on its event loop; loading models, telling other replicas and the clock are its affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict

from graftwork.controller.rollback_report import GivenUpVersion
from graftwork_serving.endpoint_config import ModelConfig, RollbackConfig
from graftwork_serving.rollback import Bound, Bounds, GiveUp, Stay, Watch, judge
from graftwork_serving.routing import Arm
from graftwork_serving.served_model import ServedModel


class GivenUp(BaseModel):
    """A version that one replica gave up, as it tells the others."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    endpoint: str
    """Of which endpoint."""
    bad: ModelConfig
    """The version."""
    good: ModelConfig
    """The version before, which serves in its place."""
    bound: Bound
    """Which bound it crossed."""
    why: str
    """In words, with the figures."""

    @property
    def sentence(self) -> str:
        """For logs and people."""
        return (
            f"{self.bad.reference}: version {self.bad.version} was given up for version {self.good.version}: "
            f"{self.why}. It is tried again when the alias has moved to another version and back, or after a restart."
        )

    @property
    def told(self) -> GivenUpVersion:
        """For the operator."""
        return GivenUpVersion(
            model=self.bad.reference, given_up=self.bad.source, serving=self.good.source, message=self.sentence
        )


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """An arm as it is served."""

    config: ModelConfig
    arm: Arm


@dataclass(frozen=True, kw_only=True)
class _Takeover:
    """A version that is watched, and the one it took over from."""

    new: _Taken
    old: _Taken
    watch: Watch


class Rollouts:
    """The replica's arms, and what becomes of them.

    Attributes:
        given_up: by reference, what the alias still points to but is not served.
    """

    def __init__(self) -> None:
        self.given_up: dict[str, GivenUp] = {}
        self._taken: dict[str, _Taken] = {}
        self._takeovers: dict[str, _Takeover] = {}
        self._bounds: Bounds | None = None

    @property
    def arms(self) -> list[Arm]:
        """Who serves."""
        return [taken.arm for taken in self._taken.values()]

    @property
    def models(self) -> list[ServedModel]:
        """Who serves or waits behind."""
        behind = [takeover.old.arm.model for takeover in self._takeovers.values()]
        return [*(arm.model for arm in self.arms), *behind]

    def plan(
        self, wanted: Sequence[ModelConfig], told: Mapping[str, GivenUp], bounds: RollbackConfig | None
    ) -> list[ModelConfig]:
        """What to load for a configuration: what it names, but the version before for one that was given up.

        Args:
            wanted: the arms of the configuration.
            told: what any replica of the endpoint gave up, by reference.
            bounds: what a new version has to keep to; without them nothing was given up either.
        """
        if bounds is None:
            return list(wanted)
        rejected = {**told, **self.given_up}
        planned = []
        for config in wanted:
            record = rejected.get(_key(config))
            is_bad = record is not None and record.bad.digest == config.digest
            planned.append(_instead(config, record) if record is not None and is_bad else config)
        return planned

    def take(
        self,
        wanted: Sequence[ModelConfig],
        planned: Sequence[ModelConfig],
        arms: Sequence[Arm],
        told: Mapping[str, GivenUp],
        bounds: RollbackConfig | None,
        now_s: float,
    ) -> None:
        """Serve what was planned and has been loaded; watch whoever takes over from another version.

        Args:
            wanted: as for `plan`.
            planned: what `plan` gave, wherever its bundles are now.
            arms: the loaded arms, in its order.
            told: as for `plan`.
            bounds: what a new version has to keep to; None to watch nobody.
            now_s: time on a clock that only goes forward.
        """
        before, self._bounds = self._taken, _bounds(bounds)
        self._taken = {_key(config): _Taken(config=config, arm=arm) for config, arm in zip(planned, arms, strict=True)}
        rejected = {**told, **self.given_up}
        self.given_up = {
            _key(config): rejected[_key(config)]
            for config, instead in zip(wanted, planned, strict=True)
            if instead.digest != config.digest
        }
        takeovers = {
            key: takeover
            for key, taken in self._taken.items()
            if (takeover := self._takeover(key, before.get(key), taken, now_s)) is not None
        }
        self._takeovers = takeovers if self._bounds is not None else {}

    def _takeover(self, key: str, before: _Taken | None, new: _Taken, now_s: float) -> _Takeover | None:
        """The watch over an arm's version, if it took over from another one; goes on if that is under way already."""
        running = self._takeovers.get(key)
        if running is not None and running.new.config.digest == new.config.digest:
            return replace(running, new=new)
        old = before if running is None else running.old  # the last one that is known to be good
        if old is None or old.config.digest == new.config.digest or new.arm.shadow is not None or key in self.given_up:
            return None
        return _Takeover(new=new, old=old, watch=Watch(started_s=now_s))

    def behind(self, version: ServedModel) -> ServedModel | None:
        """The version that a watched one is compared with; None for one that needs no comparison."""
        if self._bounds is None or self._bounds.max_disagreement is None:
            return None
        takeover = self._watched(version)
        return None if takeover is None else takeover.old.arm.model

    def answered(self, version: ServedModel, seconds: float) -> None:
        """A version answered a request."""
        if self._takeovers and (takeover := self._watched(version)) is not None:
            takeover.watch.answered(seconds)

    def failed(self, version: ServedModel) -> None:
        """A version failed to answer a request."""
        if self._takeovers and (takeover := self._watched(version)) is not None:
            takeover.watch.failed()

    def compared(self, version: ServedModel, examples: int, disagreements: int) -> None:
        """A watched version's answers were compared with those of the version before."""
        if (takeover := self._watched(version)) is not None:
            takeover.watch.compared(examples, disagreements)

    def judge(self, endpoint: str, now_s: float) -> list[GivenUp]:
        """Give up what has crossed a bound, and let the versions before go of what has not.

        Returns:
            What was given up; `arms` has the versions before in its place.
        """
        found: list[GivenUp] = []
        if self._bounds is None:
            return found
        for key, takeover in list(self._takeovers.items()):
            match judge(takeover.watch.evidence(now_s), self._bounds):
                case GiveUp() as verdict:
                    record = GivenUp(
                        endpoint=endpoint,
                        bad=takeover.new.config,
                        good=takeover.old.config,
                        bound=verdict.bound,
                        why=verdict.why,
                    )
                    self._go_back(key, takeover, record)
                    found.append(record)
                case Stay():
                    del self._takeovers[key]
                case _:
                    pass
        return found

    def hear(self, told: Mapping[str, GivenUp]) -> tuple[bool, bool]:
        """Follow what other replicas gave up.

        Returns:
            Whether `arms` changed, and whether something has to be loaded first (then call `plan` and `take`).
        """
        changed = must_load = False
        for key, record in told.items():
            taken = self._taken.get(key)
            if taken is None or taken.config.digest != record.bad.digest or key in self.given_up:
                continue
            takeover = self._takeovers.get(key)
            if takeover is not None and takeover.old.config.digest == record.good.digest:
                self._go_back(key, takeover, record)
                changed = True
            else:
                must_load = True
        return changed, must_load

    def _go_back(self, key: str, takeover: _Takeover, record: GivenUp) -> None:
        place = takeover.new.arm
        arm = replace(takeover.old.arm, traffic=place.traffic, shadow=place.shadow)
        self._taken[key] = replace(takeover.old, arm=arm)
        self.given_up[key] = record
        del self._takeovers[key]

    def _watched(self, version: ServedModel) -> _Takeover | None:
        for takeover in self._takeovers.values():
            model = takeover.new.arm.model
            if model.digest == version.digest and model.name == version.name:
                return takeover
        return None


def by_reference(records: Sequence[GivenUp]) -> dict[str, GivenUp]:
    """Records by the arm they are about."""
    return {_key(record.bad): record for record in records}


def _key(config: ModelConfig) -> str:
    return f"{config.name} {config.reference}"


def _instead(wanted: ModelConfig, record: GivenUp) -> ModelConfig:
    """The version before, in the place that the configuration has for the one given up."""
    place = {"traffic": wanted.traffic, "shadow": wanted.shadow, "alias": wanted.alias}
    return record.good.model_copy(update=place)


def _bounds(config: RollbackConfig | None) -> Bounds | None:
    return None if config is None else Bounds(**config.model_dump())
