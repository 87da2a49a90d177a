"""The driver's side of training: starts the workers, shows how far they are, and hands over what came out.

Ray must have been started (`local_ray.start_local_ray`, or a cluster).
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from functools import partial
from typing import NoReturn

from graftwork.errors import PermanentError
from graftwork.progress import Reporter
from graftwork.spec.fine_tune_job import Scaling
from graftwork_jobs.events import EventTail
from graftwork_jobs.train.deadlines import Deadlines
from graftwork_jobs.train.driver_files import this_node
from graftwork_jobs.train.local_ray import environment_set
from graftwork_jobs.train.progress_view import training_view
from graftwork_jobs.train.ray_thread import in_ray_thread
from graftwork_jobs.train.request import TrainRequest, TrainResult
from graftwork_jobs.train.snapshot import mend_snapshot

_LOOK_EVERY_S = 0.25
_STOP_WITHIN_S = 30.0
# Ray's name of the time it gives a group of workers to start.
_START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
# With a variable number of workers only machines that are there are counted on; one just lost may still be among them.
_ELASTIC_START_S = 45.0

__all__ = ["TrainRequest", "TrainResult", "train"]


def train(request: TrainRequest, reporter: Reporter) -> TrainResult:
    """Train, or go on where an interrupted run of the same name stopped, or return what a finished one left.

    Blocks until done. Workers that get lost or hang are replaced as often as `scaling.maxFailures` says.

    Args:
        request: what to train.
        reporter: takes a bar for each phase and a line for each epoch.

    Raises:
        PermanentError: training failed for good; the text says why.
    """
    if request.result_file.is_file():
        return _result(request)
    scaling = request.job.spec.scaling
    request = replace(request, driver_node=this_node())
    for stalls in range(scaling.max_failures + 1):
        if _train_once(request, reporter):
            return _result(request)
        if stalls < scaling.max_failures:
            reporter.warn(
                f"no progress for {scaling.stall_timeout_seconds:g} s (scaling.stallTimeoutSeconds): the workers are "
                "ended and started again from the last checkpoint"
            )
    raise PermanentError(
        f"Training made no progress for {scaling.stall_timeout_seconds:g} s, {scaling.max_failures + 1} times. "
        "If an epoch or its validation can take so long, raise scaling.stallTimeoutSeconds; see the workers' logs in "
        f"{request.run_dir} otherwise. Run the job again to go on from the last checkpoint."
    )


def _result(request: TrainRequest) -> TrainResult:
    """What training came to. Its checkpoints are of no use any more, and the largest part of a run's folder."""
    result = TrainResult.from_json(request.result_file.read_text())
    shutil.rmtree(request.checkpoints_dir, ignore_errors=True)
    return result


def _train_once(request: TrainRequest, reporter: Reporter) -> bool:
    """Run the workers to their end; False if they hung and had to be ended."""
    if request.storage is None:
        mend_snapshot(request.checkpoints_dir / request.run_name)
    tail = EventTail(request.events_file)
    tail.skip_to_end()
    scaling = request.job.spec.scaling
    deadlines = Deadlines.of(scaling)
    fitting = in_ray_thread(partial(_run_trainer, request), stop_within_s=_STOP_WITHIN_S)
    with fitting as fit, training_view(reporter) as view:
        while True:
            ended = fit.ended.is_set()
            for event in tail.new_events():
                deadlines.event_seen()
                view.show(event)
            if ended:
                break
            if deadlines.stalled:
                break
            if deadlines.never_started:
                raise no_room(scaling)
            fit.ended.wait(_LOOK_EVERY_S)
    if not fit.ended.is_set():
        raise PermanentError(
            "The workers hang and could not be ended. Run the job again: it goes on from the last checkpoint."
        )
    if deadlines.stalled:
        return False
    if fit.failure is not None:
        _raise_readable(fit.failure)
    if not request.result_file.is_file():
        raise PermanentError(
            f"{request.run_dir}: the workers ended without a result. Run the job again; if that happens twice, "
            "start over with --restart."
        )
    return True


def _run_trainer(request: TrainRequest, stop: threading.Event) -> None:
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig

    from graftwork_jobs.distributed.backend import KerasBackendConfig
    from graftwork_jobs.distributed.worker_process import WorkerProcess
    from graftwork_jobs.train.failure_policy import failure_config
    from graftwork_jobs.train.trainer import Trainer
    from graftwork_jobs.train.worker import train_worker

    scaling = request.job.spec.scaling
    trainer = Trainer(
        train_worker,  # pyright: ignore[reportArgumentType]  # Ray hands over any object, not only a dict
        train_loop_config=request,  # pyright: ignore[reportArgumentType]  # the same
        stop=stop,
        backend_config=KerasBackendConfig(process=WorkerProcess.of_job(request.job.spec)),
        scaling_config=ScalingConfig(
            num_workers=_workers(scaling),
            # More often would throw away more than is won.
            elastic_resize_monitor_interval_s=scaling.checkpoint_every_seconds,
            use_gpu=scaling.gpus_per_worker > 0,
            resources_per_worker=resources_of(scaling),
        ),
        run_config=RunConfig(
            name=request.run_name,
            storage_path=request.storage or str(request.checkpoints_dir),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=failure_config(scaling.max_failures),
        ),
    )
    patience_s = scaling.scheduling_timeout_seconds
    if scaling.min_workers is not None:
        patience_s = min(patience_s, _ELASTIC_START_S)
    with environment_set({_START_TIMEOUT: str(patience_s)}):
        trainer.fit()


def _workers(scaling: Scaling) -> int | tuple[int, int]:
    """A number, or the fewest and the most."""
    fewest = scaling.min_workers
    return scaling.workers if fewest is None or fewest == scaling.workers else (fewest, scaling.workers)


def no_room(scaling: Scaling) -> PermanentError:
    """What to say of workers, or trials, that did not start in time."""
    import ray

    held = ray.cluster_resources()
    wanted = " and ".join(f"{amount:g} {kind}" for kind, amount in resources_of(scaling).items())
    there = " and ".join(f"{held.get(kind, 0.0):g} {kind}" for kind in resources_of(scaling))
    return PermanentError(
        f"The workers did not start within {scaling.scheduling_timeout_seconds:g} s "
        f"(scaling.schedulingTimeoutSeconds). Each of {scaling.min_workers or scaling.workers} needs {wanted}; the "
        f"cluster has {there} in all, other runs' included. Ask for less, wait until there is room, or raise the time."
    )


def resources_of(scaling: Scaling) -> dict[str, float]:
    """What a worker asks Ray for."""
    resources = {"CPU": float(scaling.cpus_per_worker)}
    if scaling.gpus_per_worker:
        resources["GPU"] = float(scaling.gpus_per_worker)
    return resources


def _raise_readable(failure: BaseException) -> NoReturn:
    from graftwork_jobs.train.failure_policy import permanent_error

    permanent = permanent_error(failure)
    if permanent is not None:
        raise permanent from failure
    lines = [line for line in str(failure).splitlines() if line.strip()]
    raise PermanentError(
        f"Training failed: {lines[-1] if lines else type(failure).__name__}. Run the job again to go on from the last "
        "checkpoint."
    ) from failure
