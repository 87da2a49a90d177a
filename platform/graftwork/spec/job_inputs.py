"""Which fields of a FineTuneJob belong to pictures and which to texts; the rest is refused with the fix. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.alias_generators import to_snake

from graftwork.spec.base import Inconsistency
from graftwork.spec.tasks import InputKind, input_kind

if TYPE_CHECKING:
    from graftwork.spec.fine_tune_job import FineTuneJobSpec

_Path = tuple[str | int, ...]

_TASK: _Path = ("task",)
_LENGTH = "Remove it. How much of a text the model sees is set by `input.maxTokens`."
_NO_SUCH = "Remove it."
_USE_PRESET = "Name a text backbone with `preset`, or a preset directory with `path`."

# Fields that mean nothing to the other kind of input: place, what to do instead.
_IMAGE_ONLY: dict[_Path, str] = {
    ("input", "imageSize"): _LENGTH,
    ("input", "resize"): _LENGTH,
    ("augment",): "Remove it: these changes are made to pictures.",
    ("backbone", "name"): _USE_PRESET,
    ("backbone", "outputLayer"): "Remove it: the head grows on the last layer of a text backbone.",
    ("backbone", "preprocessing"): "Remove it: texts are tokenized as the backbone's preset says.",
    ("data", "onBadImage"): "Remove it. Rows that have no text are left out with `data.onIncompleteRow: skip`.",
    ("evaluation", "testTimeAugmentation"): "Remove it: texts have no mirror images.",
    ("training", "batchNorm"): "Remove it: text backbones have no such layers.",
}
_TEXT_ONLY: dict[_Path, str] = {
    ("input", "maxTokens"): "Remove it. The size of pictures is set by `input.imageSize`.",
}


@dataclass(frozen=True)
class _Given:
    """A field that was set to something else than its default."""

    at: _Path
    value: Any


def foreign_fields() -> dict[InputKind, dict[_Path, str]]:
    """By kind of input: fields that do not apply to it, each with what to do instead."""
    return {"text": dict(_IMAGE_ONLY), "image": dict(_TEXT_ONLY)}


def input_inconsistencies(spec: FineTuneJobSpec) -> list[Inconsistency]:
    """Fields that do not go with what the task's model takes."""
    kind = input_kind(spec.task)
    foreign = foreign_fields()[kind]
    wrong = [_foreign(given, kind, fix) for at, fix in foreign.items() if (given := _given(spec, at)) is not None]
    return [*wrong, *_pooling(spec, kind), *_sources(spec, kind)]


def _given(model: BaseModel, at: _Path) -> _Given | None:
    """What stands at a camelCase path, unless it is the default."""
    value: Any = model
    default: Any = None
    for key in at:
        field = type(value).model_fields[to_snake(str(key))]
        default = field.get_default(call_default_factory=True)
        value = getattr(value, to_snake(str(key)))
    return None if value == default else _Given(at, value)


def _foreign(given: _Given, kind: InputKind, fix: str) -> Inconsistency:
    shown = f"`{given.value}`" if isinstance(given.value, (str, int, float)) else "a value"
    noun = "texts" if kind == "text" else "pictures"
    return Inconsistency(
        at=given.at,
        received=f"{shown} in a job on {noun}",
        expected=f"nothing: it does not apply to {noun}",
        fix=fix,
        involves=(_TASK,),
    )


def _pooling(spec: FineTuneJobSpec, kind: InputKind) -> Iterator[Inconsistency]:
    if kind == "image" and spec.head.pooling == "first":
        yield Inconsistency(
            at=("head", "pooling"),
            received="`first` in a job on pictures",
            expected="`avg` or `max`: a feature map has no first token",
            fix="Use `avg`.",
            involves=(_TASK,),
        )


def _sources(spec: FineTuneJobSpec, kind: InputKind) -> Iterator[Inconsistency]:
    sources: list[tuple[_Path, BaseModel]] = [
        (("data", "train"), spec.data.train),
        (("data", "validation"), spec.data.validation),
        (("data", "test"), spec.data.test),
        *((("data", "extraTests", number), extra) for number, extra in enumerate(spec.data.extra_tests)),
    ]
    foreign, instead = ("pathColumn", "textColumn") if kind == "text" else ("textColumn", "pathColumn")
    for at, source in sources:
        if (given := _given(source, (foreign,))) is not None:
            yield _foreign(_Given((*at, foreign), given.value), kind, f"Use `{instead}`.")
        if kind == "text" and getattr(source, "format", None) == "image-folder":
            yield Inconsistency(
                at=(*at, "format"),
                received="`image-folder` in a job on texts",
                expected="`csv`, `jsonl` or `parquet`, or `auto`",
                fix="Name a table with a text column and a label column.",
                involves=(_TASK,),
            )
