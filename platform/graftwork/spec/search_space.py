"""From a search space to the specs of its trials: drawing values, finding the fields they belong to, checking. Pure.

Trial n of a space depends on the space, the seed and n only: neither on how many trials there are nor on their order.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from graftwork.errors import Problem
from graftwork.near_names import did_you_mean
from graftwork.spec.base import Inconsistency
from graftwork.spec.edit_yaml import flow

if TYPE_CHECKING:
    from graftwork.spec.fine_tune_job import FineTuneJobSpec
    from graftwork.spec.job_search import Search, SearchRange

SEARCHED_SECTIONS = ("backbone", "input", "augment", "head", "phases", "training")
"""Sections whose fields may vary. Data stays: trials are compared on the same validation pictures."""
# Those that may vary as a whole: another backbone, other augmentation or none. The rest has fields that must stay.
_WHOLE_SECTIONS = frozenset({"backbone", "input", "augment", "head"})
_FIXED = frozenset({"training.seed", "training.backend", "phases.name"})
# A Halton sequence in so many dimensions covers a space evenly; beyond, its large bases run side by side for long.
# Source: Halton, Numerische Mathematik 2 (1960), 84-90.
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
_DIGITS = 4
# How often to draw again before a space counts as exhausted.
_TRIES_A_TRIAL = 20

Values = Mapping[str, Any]
Place = tuple[str | int, ...]


class PathError(Exception):
    """A path that leads to no field.

    Attributes:
        received: what was found.
        expected: what is allowed.
        fix: what to do.
    """

    def __init__(self, *, received: str, expected: str, fix: str) -> None:
        self.received, self.expected, self.fix = received, expected, fix
        super().__init__(f"received {received}, expected {expected}. {fix}")


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One trial.

    Attributes:
        number: 0 for the spec as it stands, then 1, 2, ...
        values: by path; empty for the spec as it stands.
        spec: the whole spec section, without `search`, as plain values.
    """

    number: int
    values: dict[str, Any]
    spec: dict[str, Any]


def trial_specs(spec: FineTuneJobSpec) -> list[TrialSpec]:
    """The trials of a spec with a `search` section, in order; all different.

    Fewer than `search.trials` if the space holds fewer combinations.
    """
    if spec.search is None:
        return []
    base = plain_spec(spec)
    found = [TrialSpec(number=0, values={}, spec=base)]
    drawn: list[Values] = []
    meant = [_with_defaults(base)]
    for draw in range(1, spec.search.trials * _TRIES_A_TRIAL):
        if len(found) == spec.search.trials:
            break
        values = drawn_values(spec.search, draw, seed=spec.training.seed)
        if values in drawn:
            continue
        drawn.append(values)
        content = with_values(base, values)
        if (whole := _with_defaults(content)) not in meant:
            meant.append(whole)
            found.append(TrialSpec(number=len(found), values=values, spec=content))
    return found


def _with_defaults(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """A spec section by which jobs can be compared: nothing written may mean the same as the default written."""
    from graftwork.spec.fine_tune_job import FineTuneJobSpec

    try:
        return FineTuneJobSpec.model_validate(content, by_alias=True, by_name=False).model_dump(mode="json")
    except ValidationError:
        return content  # refused later, in words


def values_shown(values: Values) -> str:
    """What a trial changes, in words and as YAML."""
    return ", ".join(f"{path}: {flow(value)}" for path, value in values.items()) or "the spec as it stands"


def plain_spec(spec: FineTuneJobSpec) -> dict[str, Any]:
    """What was written, as plain values, without `search`."""
    return spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"search"})


def with_values(base: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """A spec section with some fields set.

    Args:
        base: plain values.
        values: by path.

    Raises:
        PathError: a path leads into a list entry that is not there.
    """
    changed = copy.deepcopy(dict(base))
    for path, value in values.items():
        _set(changed, place_of(base, path), copy.deepcopy(value))
    return changed


def place_of(base: Mapping[str, Any], path: str) -> Place:
    """Keys and positions that a dotted path leads through.

    Raises:
        PathError: a list on the way has no such entry.
    """
    holder: Any = base
    place: list[str | int] = []
    for step in path.split("."):
        at: str | int = step
        if isinstance(holder, list):
            at = _position(holder, step)
            holder = holder[at]
        else:
            holder = holder.get(step) if isinstance(holder, Mapping) else None
        place.append(at)
    return tuple(place)


def drawn_values(search: Search, number: int, *, seed: int) -> dict[str, Any]:
    """One point of a space: a shifted Halton sequence, so that few trials already cover it evenly."""
    values = {}
    for dimension, path in enumerate(sorted(search.space)):
        if dimension < len(_PRIMES):
            shift = random.Random(f"{seed}/{path}").random()  # noqa: S311 (no secret)
            share = (_radical_inverse(number, _PRIMES[dimension]) + shift) % 1.0
        else:
            share = random.Random(f"{seed}/{path}/{number}").random()  # noqa: S311 (no secret)
        values[path] = _value_at(search.space[path], share)
    return values


def search_problems(spec: FineTuneJobSpec) -> list[Inconsistency]:
    """What is wrong with a spec's search: paths to nowhere, values a field cannot take, trials that contradict."""
    if spec.search is None:
        return []
    base = plain_spec(spec)
    problems = [
        problem for path, values in spec.search.space.items() for problem in _range_problems(base, path, values)
    ]
    problems = problems or list(_named_twice(base, spec.search))
    if problems:
        return problems
    trials = trial_specs(spec)
    if len(trials) == 1:
        return [
            Inconsistency(
                at=("search", "space"),
                received="values that leave only the spec as it stands",
                expected="a value that makes another job of it",
                fix="Add values, or remove `search`.",
                involves=tuple((section,) for section in SEARCHED_SECTIONS),
            )
        ]
    for trial in trials:
        wrong = _spec_problems(trial.spec)
        if wrong:
            shown = values_shown(trial.values)
            return [
                Inconsistency(
                    at=("search", "space"),
                    received=f"the combination {shown}: {wrong[0].received} at {wrong[0].where}",
                    expected=wrong[0].expected,
                    fix=f"Choose ranges that fit together. {wrong[0].fix}",
                    involves=tuple((section,) for section in SEARCHED_SECTIONS),
                )
            ]
    return []


def _range_problems(base: Mapping[str, Any], path: str, values: SearchRange) -> Iterator[Inconsistency]:
    """What is wrong with one path, or with any of the values it may take."""
    here = ("search", "space", path)
    involved = tuple((section,) for section in SEARCHED_SECTIONS)
    section = path.split(".", 1)[0]
    is_whole = path == section and section not in _WHOLE_SECTIONS
    if section not in SEARCHED_SECTIONS or is_whole or _without_entry(path) in _FIXED:
        allowed = ", ".join(f"`{name}`" for name in SEARCHED_SECTIONS)
        fix = did_you_mean(section, SEARCHED_SECTIONS) if section not in SEARCHED_SECTIONS else ""
        yield Inconsistency(
            at=here,
            received=f"the path `{path}`",
            expected=f"the path of a field in {allowed}, other than seed, backend and names",
            fix=fix or "Write section and field, such as `head.dropout` or `phases.NAME.learningRate`.",
        )
        return
    for place, value in _ends(values):
        try:
            problems = _spec_problems(with_values(base, {path: value}))
        except PathError as error:
            yield Inconsistency(
                at=here, received=error.received, expected=error.expected, fix=error.fix, involves=involved
            )
            return
        if problems:
            unknown = _unknown_field(base, path)
            whole = place[0] in {"uniform", "logUniform"} and not _spec_problems(with_values(base, {path: int(value)}))
            yield Inconsistency(
                at=(*here, *place) if unknown is None else here,
                received=problems[0].received,
                expected=problems[0].expected,
                fix=unknown or ("Use `integer`, which draws whole numbers." if whole else problems[0].fix),
                involves=involved,
            )
            return


def _named_twice(base: Mapping[str, Any], search: Search) -> Iterator[Inconsistency]:
    """Paths to a field that another path sets: an entry of a list by its name and by its position, a whole section."""
    places = {path: place_of(base, path) for path in search.space}
    for number, (path, place) in enumerate(places.items()):
        for other, set_by in list(places.items())[:number]:
            shorter = min(len(place), len(set_by))
            if place[:shorter] != set_by[:shorter]:
                continue
            yield Inconsistency(
                at=("search", "space", path),
                received=f"a field that `{other}` sets, too",
                expected="each field once",
                fix="Remove one of the two.",
                involves=tuple((section,) for section in SEARCHED_SECTIONS),
            )


def _unknown_field(base: Mapping[str, Any], path: str) -> str | None:
    """What to do about a path whose last step is no field, whether or not the spec sets its neighbours; else None."""
    from graftwork.spec.load import guide_of

    place = place_of(base, path)
    known = guide_of("FineTuneJob").at(("spec", *place[:-1]), {"spec": base}).get("properties", {})
    if not known or place[-1] in known:
        return None
    return did_you_mean(str(place[-1]), known) or "Use one of these fields."


def _without_entry(path: str) -> str:
    """`phases.head.name` to `phases.name`."""
    steps = path.split(".")
    return f"{steps[0]}.{steps[-1]}"


def _ends(values: SearchRange) -> Iterator[tuple[Place, Any]]:
    """Values that stand for all: every choice, and both ends of a range. Drawn ones lie between."""
    for key, entries in (
        ("choice", values.choice),
        ("uniform", values.uniform),
        ("logUniform", values.log_uniform),
        ("integer", values.integer),
    ):
        for position, value in enumerate(entries or ()):
            yield (key, position), value


def _spec_problems(content: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a spec section, explained as in a file."""
    from graftwork.spec.base import API_VERSION
    from graftwork.spec.explain import Explainer
    from graftwork.spec.fine_tune_job import FineTuneJob
    from graftwork.spec.load import guide_of
    from graftwork.spec.yaml_text import Document

    whole = {"apiVersion": API_VERSION, "kind": "FineTuneJob", "metadata": {"name": "trial"}, "spec": content}
    try:
        FineTuneJob.model_validate(whole, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        explainer = Explainer(document=Document(value=whole, line=1), file="", guide=guide_of("FineTuneJob"))
        return [problem for details in error.errors() for problem in explainer.explain(details)]
    return []


def _position(entries: list[Any], step: str) -> int:
    """Where in a list a step leads: an entry's name, or its position."""
    names = [str(entry["name"]) for entry in entries if isinstance(entry, Mapping) and "name" in entry]
    for position, entry in enumerate(entries):
        if isinstance(entry, Mapping) and entry.get("name") == step:
            return position
    if step.isdecimal() and int(step) < len(entries):
        return int(step)
    allowed = [*names, f"a position from 0 to {len(entries) - 1}"] if entries else ["nothing: the list is empty"]
    raise PathError(
        received=f"the list entry `{step}`",
        expected=" or ".join(allowed),
        fix=did_you_mean(step, names) or "Name an entry that the spec has.",
    )


def _set(content: Any, place: Place, value: Any) -> None:
    holder: Any = content
    for step in place[:-1]:
        inner: Any = holder[step] if isinstance(step, int) else holder.get(step)
        if not isinstance(inner, (dict, list)):
            # A word (`unfreeze: none`) or nothing gives way to the mapping that the path needs.
            inner = {}
            holder[step] = inner
        holder = inner
    holder[place[-1]] = value


def _value_at(values: SearchRange, share: float) -> Any:
    """The value at a share, 0 <= share < 1, of a range."""
    if values.choice is not None:
        return values.choice[int(share * len(values.choice))]
    if values.integer is not None:
        low, high = values.integer
        return low + int(share * (high - low + 1))
    if values.log_uniform is not None:
        lowest, highest = values.log_uniform
        return _rounded(math.exp(math.log(lowest) + share * math.log(highest / lowest)), lowest, highest)
    if values.uniform is not None:
        lowest, highest = values.uniform
        return _rounded(lowest + share * (highest - lowest), lowest, highest)
    raise AssertionError("unreachable: a range has one of its keys")


def _rounded(value: float, low: float, high: float) -> float:
    """As few digits as tell values apart, so that the winner reads well; never outside the range."""
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


def _radical_inverse(number: int, base: int) -> float:
    """The digits of a number in a base, mirrored behind the point."""
    inverse, scale = 0.0, 1.0
    while number:
        scale /= base
        number, digit = divmod(number, base)
        inverse += digit * scale
    return inverse
