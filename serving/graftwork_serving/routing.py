"""Which version of a model answers a request: weights, sticky keys, and shadows. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from graftwork.errors import RequestError
from graftwork_serving.served_model import ServedModel

_HASH_BITS = 53  # what a float holds exactly


@dataclass(frozen=True, eq=False, kw_only=True)
class Arm:
    """One entry of the spec's `models`: the version behind a reference, and its share of the requests for its name.

    Attributes:
        reference: how the spec names it; stays when an alias moves.
        model: the version.
        traffic: its share of the requests, relative to the name's other arms.
        shadow: share of the requests of which it gets a copy; None for an arm that answers.
    """

    reference: str
    model: ServedModel
    traffic: float = 100.0
    shadow: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class RoutedModel:
    """All versions behind one name.

    Attributes:
        name: in request URLs.
        arms: in the order of the spec; at least one answers.
    """

    name: str
    arms: tuple[Arm, ...]

    @cached_property
    def answering(self) -> tuple[Arm, ...]:
        """The arms that answer."""
        return tuple(arm for arm in self.arms if arm.shadow is None)

    @cached_property
    def shadows(self) -> tuple[Arm, ...]:
        """The arms that get copies."""
        return tuple(arm for arm in self.arms if arm.shadow is not None)

    @cached_property
    def versions(self) -> tuple[str, ...]:
        """Versions that can be asked, each once."""
        return tuple(dict.fromkeys(arm.model.version for arm in self.arms))

    @property
    def main(self) -> ServedModel:
        """The version that stands for all where only one can: that with the most traffic, the first of several."""
        return max(self.answering, key=lambda arm: arm.traffic).model

    @cached_property
    def _bounds(self) -> tuple[float, ...]:
        return tuple(accumulate(arm.traffic for arm in self.answering))

    def choose(self, key: str | None, draw: float) -> Arm:
        """The arm that answers a request which names no version.

        Args:
            key: the client's sticky key; the same one always gets the same arm. None for a request by itself.
            draw: random number, 0 <= draw < 1, which decides for a request without a key.
        """
        if len(self.answering) == 1:
            return self.answering[0]
        if key is not None:
            return sticky_arm(key, self.answering)
        point = draw * self._bounds[-1]
        return next(arm for arm, bound in zip(self.answering, self._bounds, strict=True) if point < bound)

    def version(self, version: str) -> ServedModel:
        """One version by its name.

        Raises:
            RequestError: it is not served (404).
        """
        for arm in self.arms:
            if arm.model.version == version:
                return arm.model
        served = ", ".join(map(repr, self.versions))
        raise RequestError(
            404, f"Model {self.name!r} is served here in version {served}, not {version[:40]!r}. Use that version."
        )


def sticky_arm(key: str, arms: Sequence[Arm]) -> Arm:
    """The arm of a key: each arm gets its share of all keys, and a change of shares moves as few keys as it can.

    Source: weighted rendezvous hashing with the logarithmic method, Schindelhauer and Schomaker, "Weighted distributed
    hash tables", SPAA 2005.
    """
    return max(arms, key=lambda arm: _attraction(key, arm))


def _attraction(key: str, arm: Arm) -> float:
    if arm.traffic <= 0:
        return -1.0
    hashed = hashlib.blake2b(f"{arm.reference}\0{key}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    uniform = ((int.from_bytes(hashed) >> (64 - _HASH_BITS)) + 0.5) / (1 << _HASH_BITS)
    return arm.traffic / -math.log(uniform)


def route_models(arms: Sequence[Arm]) -> dict[str, RoutedModel]:
    """Arms by the name of their model, in the order of the spec."""
    names = dict.fromkeys(arm.model.name for arm in arms)
    return {name: RoutedModel(name=name, arms=tuple(arm for arm in arms if arm.model.name == name)) for name in names}
