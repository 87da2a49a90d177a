"""What the models refuse beyond single fields, said in CEL for the API server. Pure.

Each rule stands for a cross-field check of the model it is listed under; `crd` puts it into that model's schema. What
CEL cannot say (search spaces, the insides of `unfreeze`) the operator refuses with a condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.alias_generators import to_snake

from graftwork.spec import job_inputs
from graftwork.spec.placement import TAKEN_PATHS
from graftwork.spec.target_metrics import LOWER_IS_BETTER
from graftwork.spec.tasks import Task, input_kind

# Names of the objects made from a job end in nine characters of ours, and KubeRay allows 47.
LONGEST_NAME = 38
# Runs of a schedule have a hyphen and twelve digits more.
LONGEST_NAME_WITH_SCHEDULE = LONGEST_NAME - 13


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        rule: CEL that must be true.
        message: what to tell whoever wrote the object: what is expected, and the fix.
    """

    rule: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """As it stands in a CRD."""
        return {"rule": self.rule, "message": self.message}


def _one_of(*keys: str) -> Rule:
    present = ", ".join(f"has(self.{key})" for key in keys)
    named = ", ".join(f"`{key}`" for key in keys)
    return Rule(rule=f"[{present}].exists_one(x, x)", message=f"expected exactly one of {named}")


def _split_rules() -> tuple[Rule, ...]:
    return (
        _one_of("uri", "fraction"),
        Rule(
            rule="!has(self.fraction) || !has(self.rows)",
            message="`rows` beside `fraction`: the examples come from `data.train`; remove it",
        ),
        *(
            Rule(
                rule=f"!has(self.fraction) || !has(self.{key}) || self.{key} == '{default}'",
                message=f"`{key}` beside `fraction`: the examples come from `data.train`; remove it",
            )
            for key, default in (
                ("format", "auto"),
                ("pathColumn", "path"),
                ("textColumn", "text"),
                ("labelColumn", "label"),
            )
        ),
    )


_PIECE = "(self.training.batchSize / self.training.gradientAccumulation)"

# Variables are told apart by the API server itself: entries with a name of their own.
_TAKEN = [f"{path}{end}" for path in TAKEN_PATHS if path != "/" for end in ("", "/")]
_PLACEMENT = (
    Rule(
        rule=f"!has(self.volumes) || self.volumes.all(x, !(x.path in {_TAKEN}))",
        message="`volumes` at /tmp or /home/graft, where something else is mounted: mount them elsewhere",
    ),
    Rule(
        rule="!has(self.volumes) || self.volumes.all(x, self.volumes.exists_one(y, y.path == x.path))",
        message="two `volumes` at one `path`: mount one of them elsewhere",
    ),
)

RULES: dict[str, tuple[Rule, ...]] = {
    "Augment": (_one_of("flip", "rotate", "zoom", "translate", "contrast", "brightness", "mixup", "cutmix"),),
    "Autoscaling": (
        Rule(rule="self.maxReplicas >= self.minReplicas", message="expected `maxReplicas` >= `minReplicas`"),
    ),
    "Backbone": (_one_of("name", "preset", "path"),),
    "Data": (
        Rule(
            rule="(has(self.validation.fraction) ? self.validation.fraction : 0.0) + "
            "(has(self.test.fraction) ? self.test.fraction : 0.0) < 1.0",
            message="expected shares of the training data that add up to less than 1; use smaller ones, such as 0.15",
        ),
        Rule(
            rule="!has(self.extraTests) || self.extraTests.all(x, !(x.name in ['train', 'validation', 'test']))",
            message="`train`, `validation` and `test` are taken: give each of `extraTests` another name",
        ),
    ),
    "Evaluation": (
        Rule(
            rule="self.calibration == 'none' || !has(self.testTimeAugmentation) || !self.testTimeAugmentation.serve",
            message="expected `calibration` or `testTimeAugmentation.serve`, not both: an average of calibrated scores "
            "is not calibrated",
        ),
    ),
    "Features": (
        Rule(
            rule="!has(self.views) || self.cache != 'none'",
            message="expected `cache: auto` with `views`, which are kept in the cache",
        ),
    ),
    "FineTuneJobSpec": (
        Rule(
            rule="!has(self.features.views) || (has(self.augment) && size(self.augment) > 0)",
            message="`features.views` needs an `augment` section, whose random changes make the views differ",
        ),
        Rule(
            rule="!has(self.features.views) || !has(self.augment) || "
            "self.augment.all(x, !has(x.mixup) && !has(x.cutmix))",
            message="`features.views` does not go with `mixup` and `cutmix`, for each epoch mixes other pictures",
        ),
        *(
            Rule(
                rule=f"!has(self.augment) || self.augment.filter(x, has(x.{key})).size() <= 1",
                message=f"`{key}` a second time in `augment`: remove it",
            )
            for key in ("mixup", "cutmix")
        ),
        Rule(
            rule=f"self.scaling.workers <= {_PIECE}",
            message="expected at least one example a worker: `batchSize` / `gradientAccumulation` >= `workers`",
        ),
        Rule(
            rule="has(self.register) || !has(self.evaluation.gates) || "
            "self.evaluation.gates.all(x, !has(x.notWorseThan))",
            message="`notWorseThan` needs a `register` section, which names the model that carries the alias",
        ),
        Rule(
            rule="!has(self.schedule) || !self.kubernetes.suspend",
            message="expected `schedule.suspend` in place of `kubernetes.suspend`: a job with a schedule has no pods",
        ),
        Rule(
            rule="!has(self.kubernetes.storage) || self.kubernetes.storage.contains('://') || "
            "(has(self.kubernetes.volumes) && self.kubernetes.volumes.exists(x, "
            "(self.kubernetes.storage + '/').startsWith(x.path.endsWith('/') ? x.path : x.path + '/')))",
            message="expected `kubernetes.storage` to be a folder on one of `kubernetes.volumes`, or a URI",
        ),
    ),
    "Gate": (
        Rule(
            rule="has(self.min) || has(self.max) || has(self.notWorseThan)",
            message="expected at least one of `min`, `max`, `notWorseThan`; add a bound, or remove the gate",
        ),
        Rule(rule="!has(self.min) || !has(self.max) || self.min <= self.max", message="expected `max` >= `min`"),
        Rule(
            rule=f"!has(self.min) || has(self.max) || !(self.metric in {sorted(LOWER_IS_BETTER)})",
            message="`min` for a metric that is the better the lower it is: use `max`",
        ),
        Rule(
            rule="self.margin == 0.0 || has(self.notWorseThan)",
            message="expected `margin` beside `notWorseThan` only; name the alias to compare with",
        ),
        Rule(
            rule="!has(self.slice) || !has(self.notWorseThan)",
            message="expected `min` or `max` for slices; compare all of the test set in another gate",
        ),
    ),
    "InferenceEndpointSpec": (
        Rule(
            rule="self.models.all(x, self.models.exists_one(y, "
            "x.model == y.model && (has(x.name) ? x.name : '') == (has(y.name) ? y.name : '')))",
            message="one model twice under one name: give each a `name` of its own",
        ),
        Rule(
            rule="!has(self.grpc) || self.grpc.port != self.http.port",
            message="expected `grpc.port` and `http.port` to differ",
        ),
        Rule(
            rule="!has(self.grpc) || self.autoscaling.minReplicas > 0",
            message="expected `autoscaling.minReplicas` >= 1 with `grpc`, for which replicas listen themselves",
        ),
        Rule(
            rule="self.engine != 'openvino' || self.resources.gpus == 0.0",
            message="expected `resources.gpus` 0 with `engine: openvino`, which computes on CPU",
        ),
    ),
    "Phase": (
        Rule(rule="self.warmupEpochs < double(self.epochs)", message="expected fewer `warmupEpochs` than `epochs`"),
    ),
    "Rollback": (
        Rule(
            rule="has(self.maxErrorRate) || has(self.maxLatencyMs) || has(self.maxDisagreement)",
            message="expected at least one of `maxErrorRate`, `maxLatencyMs`, `maxDisagreement`",
        ),
    ),
    "JobPlacement": _PLACEMENT,
    "EndpointPlacement": _PLACEMENT,
    "Scaling": (
        Rule(
            rule="self.workers == 1 || self.gpusPerWorker == 0.0 || self.gpusPerWorker == 1.0",
            message="expected `gpusPerWorker` 1 or 0 with several `workers`: NCCL connects no two on one GPU",
        ),
    ),
    "SearchRange": (
        # CEL does not see `choice`, whose entries are of any type.
        Rule(
            rule="[has(self.uniform), has(self.logUniform), has(self.integer)].filter(x, x).size() <= 1",
            message="expected exactly one of `choice`, `uniform`, `logUniform`, `integer`",
        ),
        *(
            Rule(
                rule=f"!has(self.{key}) || size(self.{key}) != 2 || self.{key}[0] < self.{key}[1]",
                message=f"expected the lower end of `{key}` first, and a higher one",
            )
            for key in ("uniform", "logUniform", "integer")
        ),
        Rule(
            rule="!has(self.logUniform) || self.logUniform.all(x, x > 0.0)",
            message="expected numbers > 0 in `logUniform`; use a small positive one, or `uniform`",
        ),
    ),
    "ServedModel": (
        Rule(
            rule="!self.model.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?[@:]v?[0-9]+$')",
            message="expected `model` as NAME/VERSION or NAME@ALIAS: write flowers/3 for version 3",
        ),
        Rule(
            rule="!has(self.traffic) || !has(self.shadow)",
            message="`traffic` of a `shadow`: remove one, a shadow never answers",
        ),
    ),
    "SplitSource": _split_rules(),
    "Threshold": (_one_of("maximize", "minPrecision", "minRecall"),),
    "Toleration": (
        Rule(
            rule="!has(self.value) || self.operator == 'Equal'",
            message="expected `value` with `operator: Equal` only",
        ),
    ),
    "Training": (
        Rule(
            rule="self.batchSize % self.gradientAccumulation == 0",
            message="expected a `gradientAccumulation` that divides `batchSize`",
        ),
    ),
    "Topology": (_one_of("pack", "spread"),),
    "Variable": (_one_of("value", "secret"),),
}

# Objects of which exactly one key may be given, where they stand beside words and CEL cannot look inside.
SINGLE_KEY = frozenset({"Unfreeze"})

ROOT_RULES: dict[str, tuple[Rule, ...]] = {
    kind: (
        Rule(
            rule=f"size(self.metadata.name) <= {LONGEST_NAME}",
            message=f"metadata.name: expected at most {LONGEST_NAME} characters, for names of pods are made from it",
        ),
    )
    for kind in ("FineTuneJob", "InferenceEndpoint")
}
ROOT_RULES["FineTuneJob"] += (
    Rule(
        rule=f"!has(self.spec.schedule) || size(self.metadata.name) <= {LONGEST_NAME_WITH_SCHEDULE}",
        message=f"metadata.name: expected at most {LONGEST_NAME_WITH_SCHEDULE} characters with a `schedule`, for names "
        "of runs are made from it",
    ),
)


def rules_of(model: type[BaseModel]) -> list[Rule]:
    """All rules of a model."""
    rules = list(RULES.get(model.__name__, ()))
    if model.__name__ == "FineTuneJobSpec":
        rules += _input_rules(model)
    return rules


def _input_rules(model: type[BaseModel]) -> Iterator[Rule]:
    """Fields that mean nothing to the other kind of input, from the models' own table."""
    for kind, foreign in job_inputs.foreign_fields().items():
        tasks = [task for task in get_args(Task) if input_kind(task) == kind]
        noun = {"text": "texts", "image": "pictures"}[kind]
        for path, fix in foreign.items():
            given = _given(model, tuple(str(step) for step in path))
            yield Rule(
                rule=f"!(self.task in {tasks}) || !({given})",
                message=f"`{'.'.join(str(step) for step in path)}` does not apply to {noun}. {fix}",
            )


def _given(model: type[BaseModel], path: tuple[str, ...]) -> str:
    """CEL: whether something other than the default stands at a path."""
    steps, holder, default = [], "self", None
    current: Any = model
    for key in path:
        holder = f"{holder}.{key}"
        steps.append(f"has({holder})")
        field = current.model_fields[to_snake(key)]
        default, current = field.get_default(call_default_factory=True), field.annotation
    match default:
        case None:
            pass
        case list():
            steps.append(f"size({holder}) > 0")
        case str():
            steps.append(f"{holder} != '{default}'")
        case _:
            steps.append(f"{holder} != {default}")
    return " && ".join(steps)
