"""Ray Train's trainer, adapted: what fails for good is not tried again, and nothing is started that no run needs.

The only module that reaches into Ray Train's internals for the controller; the Ray version is pinned.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import ray
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from graftwork_jobs.train.failure_policy import StopOnPermanentError

if TYPE_CHECKING:
    from ray.train import FailureConfig

# Each starts an actor, which costs seconds. The first hands out Ray Data, which we do not use; the second frees the
# workers' places when a controller dies and its cluster lives on, and ours live and die together.
_NOT_NEEDED = (DatasetsCallback, PlacementGroupCleanerCallback)
_LOOK_EVERY_S = 0.2


class FixedWorkers(FixedScalingPolicy):
    """As many workers as asked for, on the machines that are there.

    Ray's own policy also tells the cluster autoscaler, through an actor of its own that costs seconds to start.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Tell no autoscaler."""

    def _maybe_send_resource_request(self) -> None:
        """Tell no autoscaler."""

    def _cancel_resource_request(self) -> None:
        """Nothing was asked for."""


class TrainingStoppedError(Exception):
    """The run was told to stop; its last checkpoint is kept."""


class Trainer(DataParallelTrainer):
    """Runs a function on all workers and restarts them if one is lost.

    Args:
        stop: when set, workers and controller are ended and `fit` raises `TrainingStoppedError`.
        arguments: of `DataParallelTrainer`.
    """

    def __init__(self, *arguments: Any, stop: threading.Event, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._stop = stop

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        """As Ray's own, which waits in a call that only the death of the whole process ends."""
        # Never None: a RunConfig made without one makes its own.
        arguments["failure_policy"] = StopOnPermanentError(cast("FailureConfig", self.run_config.failure_config))
        policy = ElasticScalingPolicy if self.scaling_config.elasticity_enabled else FixedWorkers
        arguments["scaling_policy"] = policy(self.scaling_config)
        here = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}  # noqa: SLF001 (as Ray does)
        actor = ray.remote(num_cpus=0, label_selector=here, runtime_env={"env_vars": get_env_vars_to_propagate()})
        controller: Any = actor(TrainController).remote(**arguments)
        running = controller.run.remote()
        while not ray.wait([running], timeout=_LOOK_EVERY_S)[0]:
            if self._stop.is_set():
                with suppress(ray.exceptions.RayActorError):  # it ends itself within the call
                    ray.get(controller.abort.remote())
                raise TrainingStoppedError
        ray.get(running)
        return ray.get(controller.get_result.remote())

    def _create_default_callbacks(self) -> list[Any]:
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, _NOT_NEEDED)]
