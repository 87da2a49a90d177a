"""The Ray Serve deployment: one class that holds the whole hot path, and how it follows configuration changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.controller.rollback_report import RollbackReport
from graftwork.errors import GraftworkError
from graftwork.settings import load_settings
from graftwork_serving.endpoint_config import ModelConfig, ReplicaConfig
from graftwork_serving.model_loader import ModelLoader, located
from graftwork_serving.replica_logging import log_where
from graftwork_serving.repository import ModelRepository
from graftwork_serving.rollback_board import RayRollbackBoard, RollbackBoard
from graftwork_serving.rollouts import GivenUp, Rollouts, by_reference
from graftwork_serving.served_model import ServedModel

if TYPE_CHECKING:
    from graftwork.metrics import ServingMetrics
    from graftwork_serving.access.guard import Guard
    from graftwork_serving.prediction_log.log import PredictionLog
    from graftwork_serving.routing import Arm
    from graftwork_serving.rpc.server import GrpcServer
    from graftwork_serving.web.app import EndpointApp
    from graftwork_serving.work_pool import Work

_LOGGER = logging.getLogger(__name__)
# How soon a version that crossed a bound is given up, and how soon other replicas hear of it.
_JUDGE_PERIOD_S = 2.0
# Calls that a server which goes may still finish; below the time Serve gives a replica.
_GRPC_GRACE_S = 15.0


class EndpointReplica:
    """One replica of an endpoint.

    Ray Serve calls the constructor, `__serve_build_asgi_app__` and `reconfigure` in this order before the replica gets
    requests, and `reconfigure` again whenever models change.

    Args:
        threads: threads that decode and compute.
        metrics_dir: directory in which the replicas of this machine share their metrics.
        log_pid: process among whose errors this one's are written.
    """

    def __init__(self, threads: int, metrics_dir: str, log_pid: int) -> None:
        from graftwork.metrics import ServingMetrics, share_metrics

        log_where(log_pid)
        share_metrics(Path(metrics_dir))
        from graftwork_serving.web.app import EndpointApp
        from graftwork_serving.work_pool import WorkPool

        self._loader = ModelLoader(threads=threads)
        self._metrics = ServingMetrics()
        self._pool = WorkPool(threads=threads, on_batch=self._count_batch)
        self._rollouts = Rollouts()
        self._board: RollbackBoard = RayRollbackBoard()
        self._app = EndpointApp(
            self._pool, metrics=self._metrics, metrics_dir=Path(metrics_dir), rollouts=self._rollouts
        )
        self._repository = ModelRepository(self._load_offered, self._show_current)
        self._app.repository = self._repository
        self._config: ReplicaConfig | None = None
        self._changing = asyncio.Lock()
        self._judging: asyncio.Task[None] | None = None
        self._published: frozenset[tuple[str, ...]] = frozenset()
        self._grpc: GrpcServer | None = None
        self._drifts: set[tuple[str, str]] = set()
        self._unwatched: set[tuple[str, str]] = set()
        self._rates_dir = Path(metrics_dir) / "rates"

    def __serve_build_asgi_app__(self) -> EndpointApp:
        """The application that answers HTTP."""
        return self._app

    def rollback_report(self) -> RollbackReport:
        """What the endpoint's aliases point to and this replica does not serve; other replicas' words included."""
        return RollbackReport(given_up=[record.told for record in list(self._rollouts.given_up.values())])

    async def prepare(self, user_config: dict[str, Any]) -> str | None:
        """Load what `reconfigure` will need beside what is served, of which nothing changes.

        While it runs `reconfigure`, Serve sends a replica nothing; so it had better find everything loaded.

        Returns:
            Why it cannot be loaded; None if it is.
        """
        async with self._changing:
            try:
                await self._loaded(ReplicaConfig.model_validate(user_config))
            except GraftworkError as error:
                return str(error)
        return None

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Follow a change: load the new models beside the old, replay their golden examples, switch.

        Requests in progress finish on the old models. If anything fails, the old models stay.
        """
        config = ReplicaConfig.model_validate(user_config)
        guard = await asyncio.to_thread(self._guard_for, config)
        async with self._changing:
            log = await asyncio.to_thread(self._log_for, config)
            try:
                await self._load(config)
            except BaseException:
                if log is not None and log is not self._app.log:
                    await asyncio.to_thread(log.close)
                raise
            await self._protect(guard)
            await self._keep_in(log)
            await self._watch(config)
            await self._repository.follow(config.repository, taken=[model.name for model in config.models])
            self._show(config)
        await self._follow_grpc(config)
        if config.rollback is not None and self._judging is None:
            self._judging = asyncio.create_task(self._judge_for_ever())

    async def _loaded(self, config: ReplicaConfig) -> tuple[dict[str, GivenUp], Sequence[ModelConfig], Sequence[Arm]]:
        """What is known of versions given up, what is to be served, and that loaded."""
        told = await self._given_up_elsewhere(config)
        planned = await asyncio.to_thread(_located, self._rollouts.plan(config.models, told, config.rollback))
        return told, planned, await asyncio.to_thread(self._loader.arms, planned, config)

    async def _load(self, config: ReplicaConfig) -> None:
        told, planned, arms = await self._loaded(config)
        self._rollouts.take(config.models, planned, arms, told, config.rollback, time.monotonic())
        self._config = config

    def _show(self, config: ReplicaConfig) -> None:
        arms = [*self._rollouts.arms, *self._repository.arms]
        self._app.configure(config, arms)
        self._keep_models()
        models = [arm.model for arm in arms]
        self._published = _publish_models(self._metrics, config.endpoint, models, self._published)

    def _keep_models(self) -> None:
        self._loader.keep([*self._rollouts.models, *(arm.model for arm in self._repository.arms)])

    def _load_offered(self, model: ModelConfig) -> Arm:
        """Load a model that was asked for; called in a thread."""
        if self._config is None:
            raise RuntimeError("the replica is not configured yet")
        (arm,) = self._loader.arms([located(model, load_settings())], self._config)
        return arm

    def _show_current(self) -> None:
        if self._config is not None:
            self._show(self._config)

    async def _given_up_elsewhere(self, config: ReplicaConfig) -> dict[str, GivenUp]:
        """What any replica gave up and the configuration still names; forgets what it no longer names."""
        if config.rollback is None:
            return {}
        wanted = {(model.name, model.reference, model.digest) for model in config.models}
        told = []
        for record in await asyncio.to_thread(self._board.read, config.endpoint):
            if (record.bad.name, record.bad.reference, record.bad.digest) in wanted:
                told.append(record)
            else:
                await asyncio.to_thread(self._board.remove, record)
        return by_reference(told)

    async def _judge_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_JUDGE_PERIOD_S)
            try:
                async with self._changing:
                    await self._judge()
            except Exception:
                _LOGGER.exception("Judging new versions failed; it is tried again.")

    async def _judge(self) -> None:
        """Go back from versions that crossed a bound here or in another replica."""
        config = self._config
        if config is None or config.rollback is None:
            return
        found = self._rollouts.judge(config.endpoint, time.monotonic())
        for record in found:
            _LOGGER.warning("%s", record.sentence)
            self._metrics.rollbacks.labels(config.endpoint, record.bad.name, record.bound).inc()
            await asyncio.to_thread(self._board.write, record)
        changed, must_load = self._rollouts.hear(await self._given_up_elsewhere(config))
        if must_load:
            await self._load(config)
        if must_load or changed or found:
            self._show(config)
        else:  # a version that stays lets the one before it go
            self._keep_models()

    def _guard_for(self, config: ReplicaConfig) -> Guard | None:
        before = self._app.guard
        if config.access is None or (before is not None and before.config == config.access):
            return before if config.access is not None else None
        from graftwork_serving.access.guard import Guard

        return Guard(config.access, self._rates_dir)

    def _log_for(self, config: ReplicaConfig) -> PredictionLog | None:
        before = self._app.log
        if config.prediction_log is None or (before is not None and before.config == config.prediction_log):
            return before if config.prediction_log is not None else None
        from graftwork_serving.prediction_log.log import PredictionLog

        return PredictionLog(config.prediction_log, self._count_logged)

    async def _keep_in(self, log: PredictionLog | None) -> None:
        """Keep predictions there from now on."""
        before = self._app.log
        self._app.log = log
        if before is not None and before is not log:
            await asyncio.to_thread(before.close)

    async def _watch(self, config: ReplicaConfig) -> None:
        """Watch for drift as configured."""
        before = self._app.drift
        served = {(model.name, model.version) for model in self._rollouts.models}
        for name, version in self._drifts - served if config.drift is not None else self._drifts:
            self._metrics.drift.labels(config.endpoint, name, version).set(0)  # it is no longer looked at
        self._drifts &= served
        self._tell_unwatched(config)
        if before is not None and before.config == config.drift:
            before.keep(self._rollouts.models)
            return
        self._app.drift = None
        if config.drift is not None:
            from graftwork_serving.drift.monitor import DriftMonitor

            self._app.drift = DriftMonitor(config.drift, self._publish_drift)
        if before is not None:
            await asyncio.to_thread(before.close)

    def _tell_unwatched(self, config: ReplicaConfig) -> None:
        """Name models, once each, whose drift is to be watched and cannot be."""
        lack = {(model.name, model.version) for model in self._rollouts.models if model.feature_source is None}
        wanted = lack if config.drift is not None else set()
        for name, version in sorted(wanted - self._unwatched):
            _LOGGER.warning(
                "spec.drift: model %s version %s has no summary of its test examples, so its drift is not watched. "
                "Texts, networks without a feature map and fewer than 50 test examples have none.",
                name,
                version,
            )
        self._unwatched = wanted

    def _publish_drift(self, model: ServedModel, found: float) -> None:
        self._drifts.add((model.name, model.version))
        self._metrics.drift.labels(self._app.endpoint, model.name, model.version).set(found)

    def _count_logged(self, result: str, rows: int) -> None:
        self._metrics.logged.labels(self._app.endpoint, result).inc(rows)

    async def _protect(self, guard: Guard | None) -> None:
        """Let this guard decide from now on."""
        before = self._app.guard
        if guard is before:
            return
        self._app.guard = guard
        if guard is not None:
            guard.follow_changes()
        if before is not None:
            await before.stop()

    async def _follow_grpc(self, config: ReplicaConfig) -> None:
        """Listen for gRPC as configured; a server that has to change is replaced by another beside it."""
        before, wanted = self._grpc, config.grpc
        if before and (before.config, before.max_request_bytes) == (wanted, config.max_request_bytes):
            return
        self._grpc = None
        if wanted is not None:
            from graftwork_serving.rpc.server import start_server

            self._grpc = await start_server(self._app, wanted, max_request_bytes=config.max_request_bytes)
        if before is not None:
            await before.stop(_GRPC_GRACE_S)

    async def __del__(self) -> None:
        """Let gRPC calls in progress finish, and write what is to be kept. Serve awaits this when the replica goes."""
        if self._judging is not None:
            self._judging.cancel()
        if self._grpc is not None:
            await self._grpc.stop(_GRPC_GRACE_S)
        if self._app.log is not None:
            await asyncio.to_thread(self._app.log.close)

    def _count_batch(self, model: Work, examples: int) -> None:
        if isinstance(model, ServedModel):
            name = self._metrics.model_label(model.name)
            self._metrics.batch_examples.labels(self._app.endpoint, name).observe(examples)

    async def check_health(self) -> None:
        """Fail if the replica can no longer answer; Serve then replaces it."""
        if not self._pool.is_alive:
            raise RuntimeError("a worker thread has died")


def _located(models: list[ModelConfig]) -> list[ModelConfig]:
    settings = load_settings()
    return [located(model, settings) for model in models]


def _publish_models(
    metrics: ServingMetrics, endpoint: str, models: list[ServedModel], before: frozenset[tuple[str, ...]]
) -> frozenset[tuple[str, ...]]:
    """Set the info series of what is served to 1, and of what was served before to 0."""
    shown = [model for model in models if metrics.model_label(model.name) == model.name]
    now = frozenset(
        (endpoint, model.name, model.version, model.digest, model.engine.name, model.precision) for model in shown
    )
    for labels in before - now:
        metrics.model_info.labels(*labels).set(0)
    for labels in now:
        metrics.model_info.labels(*labels).set(1)
    return now
