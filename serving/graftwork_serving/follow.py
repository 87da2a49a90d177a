"""What a running local endpoint follows: its file, the aliases in it, and what its replicas gave up."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from graftwork.endpoint_state import EndpointState
from graftwork.errors import GraftworkError, Problem, SpecError
from graftwork.progress import Reporter
from graftwork.settings import Settings
from graftwork.spec.amounts import seconds_of
from graftwork.spec.inference_endpoint import (
    GrpcListener,
    HttpListener,
    InferenceEndpoint,
    InferenceEndpointSpec,
)
from graftwork_serving.access.sources import local_access
from graftwork_serving.endpoint_config import ModelConfig, ReplicaConfig
from graftwork_serving.resolve import offered_models, replica_config, resolve_models
from graftwork_serving.rollback_board import RayRollbackBoard, RollbackBoard
from graftwork_serving.rollouts import GivenUp
from graftwork_serving.spec_file import EndpointFile, load_endpoint

if TYPE_CHECKING:
    from graftwork_serving.local_cluster import LocalCluster

_ANY_HOST = frozenset({"0.0.0.0", "::"})  # noqa: S104 (compared with, not bound to)
_BOARD_PERIOD_S = 2.0
# A tenth of the processor while replicas are busy, all of what they leave otherwise.
_NICE = 10


class Follower:
    """Keeps the replicas at what the file and the registry say.

    Args:
        loaded: the file at the start.
        models: what its models are at the start.
        state: what others are told of the endpoint.
        cluster: where the replicas are.
        settings: where the registry is.
        reporter: told of changes.
        board: what replicas gave up.
        look_up: gives the version behind `NAME@ALIAS`, as `NAME/VERSION`; asks the registry by default.
        clock: seconds, only going forward.

    Attributes:
        state: what others are told of the endpoint now.
    """

    def __init__(
        self,
        loaded: EndpointFile,
        models: list[ModelConfig],
        state: EndpointState,
        *,
        cluster: LocalCluster,
        settings: Settings,
        reporter: Reporter,
        board: RollbackBoard | None = None,
        look_up: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = state
        self._loaded = loaded
        self._models = models
        self._cluster = cluster
        self._settings = settings
        self._reporter = reporter
        self._board = board or RayRollbackBoard()
        self._look_up = look_up or _registry_look_up(settings)
        self._clock = clock
        self._next_aliases_s = self._next_board_s = clock()
        self._failed: dict[str, str] = {}
        self._gone: dict[str, str] = {}
        self._offered: list[ModelConfig] = []
        self._registry_error: str | None = None

    def start(self) -> None:
        """Start the replicas.

        Raises:
            PermanentError: one could not start.
        """
        self._deploy(self._loaded, self._config(self._loaded, self._models))
        self._plan_next_look()
        self.state = self.state.model_copy(update={"ready": True})

    def follow_file(self) -> None:
        """Read the file again and apply it; on failure the endpoint goes on as before and the state says why."""
        update: dict[str, object] = {"revision": self.state.revision + 1, "last_error": None}
        self._failed.clear()
        try:
            changed = load_endpoint(self._loaded.file)
            _check_unchanged(self._loaded, changed)
            self._switch(changed)
        except GraftworkError as error:
            self._reporter.warn(f"The endpoint goes on as before. {error}")
            update["last_error"] = str(error)
        self.state = self.state.model_copy(update=update)

    def look(self) -> None:
        """Look, when it is time, whether aliases moved and whether a replica gave a version up; follow both."""
        if self._clock() >= self._next_aliases_s:
            self._plan_next_look()
            self._follow_aliases()
        if self._loaded.endpoint.spec.rollout.rollback is not None and self._clock() >= self._next_board_s:
            self._next_board_s = self._clock() + _BOARD_PERIOD_S
            self._follow_board()

    def _plan_next_look(self) -> None:
        period = self._loaded.endpoint.spec.rollout.follow_aliases
        self._next_aliases_s = float("inf") if period == "none" else self._clock() + seconds_of(period)

    def _follow_aliases(self) -> None:
        try:
            moved, gone = moved_aliases(self._models, self._look_up)
            has_other_offers = offered_models(self._loaded.endpoint, self._settings) != self._offered
        except GraftworkError as error:
            if str(error) != self._registry_error:  # once, not at every look
                self._reporter.warn(f"The registry does not say where aliases point; what is served stays. {error}")
            self._registry_error = str(error)
            return
        self._registry_error = None
        self._tell_gone(gone)
        moved = {} if moved == self._failed else moved
        if not moved and not has_other_offers:
            return
        try:
            if moved:
                self._switch(
                    self._loaded, stays={each.reference: each.source for each in self._models if each.reference in gone}
                )
            else:
                self._deploy(self._loaded, self._config(self._loaded, self._models))
        except GraftworkError as error:
            self._failed = moved or self._failed
            self._reporter.warn(f"The endpoint goes on as before. {error}")
            self.state = self.state.model_copy(update={"last_error": str(error)})
        else:
            if moved:
                self._failed = {}
                self.state = self.state.model_copy(update={"last_error": self._about_gone()})

    def _tell_gone(self, gone: Mapping[str, str]) -> None:
        """Say which aliases are gone, once; the others are followed nevertheless."""
        if gone.keys() == self._gone.keys():
            return
        self._gone = dict(gone)
        said = self._about_gone()
        if said is not None:
            self._reporter.warn(said)
        self.state = self.state.model_copy(update={"last_error": said})

    def _about_gone(self) -> str | None:
        """What there is to say of aliases that are gone."""
        return f"What these aliases pointed to stays: {' '.join(self._gone.values())}" if self._gone else None

    def _switch(self, loaded: EndpointFile, *, stays: Mapping[str, str] | None = None) -> None:
        """Serve what a file and the registry say.

        Args:
            loaded: the file.
            stays: `NAME/VERSION` for references that the registry does not know any more.
        """
        models = resolve_models(loaded.endpoint, base_dir=loaded.base_dir, settings=self._settings, resolved=stays)
        config = self._config(loaded, models)
        if not self._cluster.prepare(config):
            is_computed_alike = _computing(loaded) == _computing(self._loaded)
            _rehearse(loaded, models, known={model.digest for model in self._models} if is_computed_alike else set())
        self._deploy(loaded, config)
        self._loaded, self._models = loaded, models
        self._plan_next_look()
        self._tell(self._given_up())
        self._reporter.say(f"Now serving {', '.join(self.state.models)}.")

    def _deploy(self, loaded: EndpointFile, config: ReplicaConfig) -> None:
        self._cluster.deploy(loaded.endpoint, config)
        self._offered = [] if config.repository is None else config.repository.models

    def _config(self, loaded: EndpointFile, models: list[ModelConfig]) -> ReplicaConfig:
        access = local_access(loaded.endpoint, base_dir=loaded.base_dir, file=loaded.file)
        offered = offered_models(loaded.endpoint, self._settings)
        return replica_config(loaded.endpoint, models, access=access, base_dir=loaded.base_dir, offered=offered)

    def _follow_board(self) -> None:
        before = self.state.given_up
        self._tell(self._given_up())
        for sentence in self.state.given_up:
            if sentence not in before:
                self._reporter.warn(sentence)

    def _given_up(self) -> list[GivenUp]:
        if self._loaded.endpoint.spec.rollout.rollback is None:
            return []
        return self._board.read(self._loaded.endpoint.metadata.name)

    def _tell(self, records: Sequence[GivenUp]) -> None:
        found = standing(self._models, records)
        self.state = self.state.model_copy(
            update={
                "models": served_names(self._models, found),
                "given_up": [record.sentence for record in found],
            }
        )


def moved_aliases(
    models: Sequence[ModelConfig], look_up: Callable[[str], str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The references among some models that now stand for another version, with that version; and those gone.

    Args:
        models: what is served.
        look_up: gives the version behind a reference.

    Returns:
        `NAME/VERSION` by reference where it moved, and what the registry says by reference where there is none.
    """
    followed = {model.reference: model.source for model in models if model.alias is not None}
    now: dict[str, str] = {}
    gone: dict[str, str] = {}
    for reference in followed:
        try:
            now[reference] = look_up(reference)
        except SpecError as error:  # any other error is the registry's, and says nothing about the alias
            gone[reference] = str(error)
    return {reference: source for reference, source in now.items() if source != followed[reference]}, gone


def standing(models: Sequence[ModelConfig], records: Sequence[GivenUp]) -> list[GivenUp]:
    """Records on versions that the models still name."""
    named = {(model.name, model.reference, model.digest) for model in models}
    return [each for each in records if (each.bad.name, each.bad.reference, each.bad.digest) in named]


def served_names(models: Sequence[ModelConfig], given_up: Sequence[GivenUp] = ()) -> list[str]:
    """`NAME VERSION` of what is served."""
    by_place = {(record.bad.name, record.bad.reference): record.good for record in given_up}
    return [f"{model.name} {by_place.get((model.name, model.reference), model).version}" for model in models]


def address(listener: HttpListener | GrpcListener) -> str:
    """Where a client on this machine finds it."""
    host = "127.0.0.1" if listener.host in _ANY_HOST else listener.host
    return f"[{host}]:{listener.port}" if ":" in host else f"{host}:{listener.port}"


def grpc_address(endpoint: InferenceEndpoint) -> str | None:
    """Where a client on this machine finds its gRPC; None nowhere."""
    return None if endpoint.spec.grpc is None else address(endpoint.spec.grpc)


def _registry_look_up(settings: Settings) -> Callable[[str], str]:
    def look_up(reference: str) -> str:
        from graftwork.registry import Registry

        return Registry(settings).version_behind(reference)

    return look_up


def _computing(loaded: EndpointFile) -> tuple[str, str]:
    return loaded.endpoint.spec.engine_name, loaded.endpoint.spec.precision


def _rehearse(loaded: EndpointFile, models: list[ModelConfig], *, known: set[str]) -> None:
    """Load what is new here, where no replica can: the next one that wakes would fail with it."""
    unknown = [model for model in models if model.digest not in known]
    if unknown:
        with ThreadPoolExecutor(1, initializer=_step_back) as aside:
            aside.submit(_load_once, loaded.endpoint.spec, unknown).result()


def _step_back() -> None:
    """Let the replicas have the processor first; on Linux, where threads have a priority of their own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _load_once(spec: InferenceEndpointSpec, models: list[ModelConfig]) -> None:
    from graftwork_serving.engine import EngineOptions
    from graftwork_serving.served_model import load_model
    from graftwork_serving.trunks import SharedParts

    options = EngineOptions(threads=1, max_batch_size=1, precision=spec.precision, engine=spec.engine_name)
    shared = SharedParts()
    rehearsed = [
        load_model(model, options, max_image_pixels=spec.limits.max_image_pixels, shared=shared) for model in models
    ]
    del rehearsed


def _check_unchanged(before: EndpointFile, after: EndpointFile) -> None:
    """Refuse changes that a running endpoint cannot follow."""
    pairs = {
        "metadata.name": (before.endpoint.metadata.name, after.endpoint.metadata.name),
        "spec.http.host": (before.endpoint.spec.http.host, after.endpoint.spec.http.host),
        "spec.http.port": (before.endpoint.spec.http.port, after.endpoint.spec.http.port),
        "spec.grpc": (grpc_address(before.endpoint), grpc_address(after.endpoint)),
        "spec.resources.cpus": (before.endpoint.spec.resources.cpus, after.endpoint.spec.resources.cpus),
        "spec.resources.gpus": (before.endpoint.spec.resources.gpus, after.endpoint.spec.resources.gpus),
        "spec.autoscaling.maxReplicas": (
            before.endpoint.spec.autoscaling.max_replicas,
            after.endpoint.spec.autoscaling.max_replicas,
        ),
    }
    problems = [
        Problem(
            file=str(after.file),
            where=where,
            received=f"{new!r} while the endpoint runs with {old!r}",
            expected=repr(old),
            fix="Stop the endpoint and serve the file anew.",
        )
        for where, (old, new) in pairs.items()
        if old != new
    ]
    if problems:
        raise SpecError(problems)
