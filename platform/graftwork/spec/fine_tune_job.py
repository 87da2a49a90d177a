"""The FineTuneJob: what to train, on which data, how, and what to register. No I/O here.

A field stands here only when it works. Field docstrings become the JSON Schema, the CRD and the reference page. Its
sections are defined in the `job_*` modules beside this one; users import them from here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from graftwork.spec.base import Inconsistency, SpecModel, SpecObject, refuse_if_any
from graftwork.spec.job_data import Augment, Data, DataSource, Input, NamedDataSource, SplitSource
from graftwork.spec.job_evaluation import (
    Evaluation,
    Gate,
    GateSlice,
    Mirror,
    Register,
    TestTimeAugmentation,
    Threshold,
)
from graftwork.spec.job_inputs import input_inconsistencies
from graftwork.spec.job_model import Backbone, Head
from graftwork.spec.job_schedule import History, Schedule
from graftwork.spec.job_search import Search, SearchRange
from graftwork.spec.job_training import (
    EarlyStopping,
    Features,
    Gradually,
    Lora,
    Phase,
    ReduceOnPlateau,
    Scaling,
    Training,
    Unfreeze,
    lora_words,
)
from graftwork.spec.placement import JobPlacement
from graftwork.spec.search_space import search_problems
from graftwork.spec.target_checks import target_inconsistencies
from graftwork.spec.tasks import Task

__all__ = [
    "Augment",
    "Backbone",
    "Data",
    "DataSource",
    "EarlyStopping",
    "Evaluation",
    "Features",
    "FineTuneJob",
    "FineTuneJobSpec",
    "Gate",
    "GateSlice",
    "Gradually",
    "Head",
    "History",
    "Input",
    "Lora",
    "Mirror",
    "NamedDataSource",
    "Phase",
    "ReduceOnPlateau",
    "Register",
    "Scaling",
    "Schedule",
    "Search",
    "SearchRange",
    "SplitSource",
    "TestTimeAugmentation",
    "Threshold",
    "Training",
    "Unfreeze",
]


class FineTuneJobSpec(SpecModel):
    """What to train, on which data, how, and what to register."""

    task: Task
    """What the model is to do."""
    backbone: Backbone
    """The pre-trained model."""
    input: Input = Input()
    """What an example looks like when it reaches the model."""
    data: Data
    """Where the examples come from and how they are split."""
    augment: list[Augment] = Field(default_factory=list)
    """Random changes to training pictures, in this order."""
    head: Head = Head()
    """The new layers."""
    phases: Annotated[list[Phase], Field(min_length=1)]
    """Stretches of training, in order."""
    features: Features = Features()
    """What becomes of the outputs of layers that do not train."""
    training: Training = Training()
    """How to train."""
    scaling: Scaling = Scaling()
    """On how many processes to train."""
    search: Search | None = None
    """Variants of the job to try; the best one is then trained, tested and registered."""
    evaluation: Evaluation = Evaluation()
    """What is looked at after training."""
    register_: Register | None = Field(default=None, alias="register")
    """Under which name the bundle goes into the registry. Without it the bundle stays in the run's folder."""
    schedule: Schedule | None = None
    """When runs of the job begin by themselves on Kubernetes; the job itself then trains nothing. `graft run` ignores
    it and runs once, at once."""
    kubernetes: JobPlacement = JobPlacement()
    """How the job runs on Kubernetes; ignored on one machine."""

    @property
    def mixes(self) -> bool:
        """Whether training pictures are mixed with others."""
        return any(entry.mixes for entry in self.augment)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_if_any(
            *input_inconsistencies(self),
            *target_inconsistencies(self),
            *self._phase_names_twice(),
            *self._adapters_differ(),
            self._idle_workers(),
            *self._gates_without_model(),
            self._views_of_nothing(),
            self._views_of_mixtures(),
            *self._mixing_comes_last(),
            self._storage_is_mounted(),
            self._suspended_twice(),
        )
        # Only a spec that is right by itself can be varied.
        refuse_if_any(*search_problems(self))
        return self

    def _views_of_nothing(self) -> Inconsistency | None:
        if self.features.views is None or self.augment:
            return None
        return Inconsistency(
            at=("features", "views"),
            received=f"{self.features.views} in a job without augmentation",
            expected="an `augment` section, whose random changes make the views differ",
            fix="Remove `features.views`, or add `augment`.",
            involves=(("augment",),),
        )

    def _views_of_mixtures(self) -> Inconsistency | None:
        if self.features.views is None or not self.mixes:
            return None
        return Inconsistency(
            at=("features", "views"),
            received=f"{self.features.views} in a job that mixes pictures",
            expected="no stored views: each epoch mixes other pictures",
            fix="Remove `features.views`, or `mixup` and `cutmix`.",
            involves=(("augment",),),
        )

    def _mixing_comes_last(self) -> list[Inconsistency]:
        """Both pictures are changed before they are mixed, and mixed once."""
        found = []
        for position, entry in enumerate(self.augment):
            name = next(key for key in entry.model_dump(exclude_none=True))
            before = self.augment[:position]
            if not entry.mixes and any(other.mixes for other in before):
                found.append(
                    Inconsistency(
                        at=("augment", position),
                        received=f"`{name}` after `mixup` or `cutmix`",
                        expected="mixing last: pictures are changed before they are mixed",
                        fix="Move it up.",
                    )
                )
            if entry.mixes and any(name in other.model_dump(exclude_none=True) for other in before):
                found.append(
                    Inconsistency(
                        at=("augment", position),
                        received=f"`{name}` a second time",
                        expected="`mixup` and `cutmix` at most once each",
                        fix="Remove it.",
                    )
                )
        return found

    def _suspended_twice(self) -> Inconsistency | None:
        if self.schedule is None or not self.kubernetes.suspend:
            return None
        return Inconsistency(
            at=("kubernetes", "suspend"),
            received="true in a job with a schedule, which has no pods of its own",
            expected="`schedule.suspend: true`, which starts no more runs",
            fix="Use `schedule.suspend`, or stop a run that is under way by its own name.",
            involves=(("schedule", "suspend"),),
        )

    def _storage_is_mounted(self) -> Inconsistency | None:
        storage, volumes = self.kubernetes.storage, self.kubernetes.volumes
        if storage is None or "://" in storage:
            return None
        if any(f"{storage}/".startswith(f"{volume.path.rstrip('/')}/") for volume in volumes):
            return None
        return Inconsistency(
            at=("kubernetes", "storage"),
            received=f"the path `{storage}`, which is on none of the volumes",
            expected="a folder on one of `kubernetes.volumes`, or a URI such as `s3://BUCKET/FOLDER`",
            fix="Add the volume, or use a URI.",
            involves=(("kubernetes", "volumes"),),
        )

    def _phase_names_twice(self) -> list[Inconsistency]:
        names = [phase.name for phase in self.phases]
        return [
            Inconsistency(
                at=("phases", position, "name"),
                received=f"`{name}`, which an earlier phase has",
                expected="a name of its own for each phase",
                fix="Give the phase another name.",
            )
            for position, name in enumerate(names)
            if name in names[:position]
        ]

    def _adapters_differ(self) -> list[Inconsistency]:
        """The adapters are part of the network from the first phase on, so all phases train the same ones."""
        with_adapters = [(position, phase.lora) for position, phase in enumerate(self.phases) if phase.lora is not None]
        return [
            Inconsistency(
                at=("phases", position, "unfreeze"),
                received=f"{lora_words(lora)} where phase {self.phases[first].name} has {lora_words(wanted)}",
                expected="the same rank and alpha in all phases",
                fix="Use the same values, or `unfreeze: all` in one of the phases.",
                involves=(("phases", first, "unfreeze"),),
            )
            for first, wanted in with_adapters[:1]
            for position, lora in with_adapters[1:]
            if lora != wanted
        ]

    def _idle_workers(self) -> Inconsistency | None:
        piece = self.training.batch_size // self.training.gradient_accumulation
        if self.scaling.workers <= piece:
            return None
        return Inconsistency(
            at=("scaling", "workers"),
            received=f"{self.scaling.workers} workers for {piece} examples at a time",
            expected="at least one example a worker (`batchSize` / `gradientAccumulation` >= `workers`)",
            fix=f"Use at most {piece} workers, or a larger `training.batchSize`.",
            involves=(("training", "batchSize"), ("training", "gradientAccumulation")),
        )

    def _gates_without_model(self) -> list[Inconsistency]:
        if self.register_ is not None:
            return []
        return [
            Inconsistency(
                at=("evaluation", "gates", position, "notWorseThan"),
                received=f"`{gate.not_worse_than}` in a job that registers nothing",
                expected="a `register` section, which names the model that carries the alias",
                fix="Add `register: {model: NAME}` to the spec, or remove `notWorseThan`.",
                involves=(("register",),),
            )
            for position, gate in enumerate(self.evaluation.gates)
            if gate.not_worse_than is not None
        ]


class FineTuneJob(SpecObject):
    """A transfer-learning job: fine-tunes a pre-trained Keras model and registers the result."""

    kind: Literal["FineTuneJob"]
    """Always `FineTuneJob`."""
    spec: FineTuneJobSpec
    """The job."""
