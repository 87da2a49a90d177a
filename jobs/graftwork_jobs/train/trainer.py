"""Ray Train's trainer, adapted: what fails for good is not tried again, and nothing is started that no run needs.

The only module that reaches into Ray Train's internals for the controller; the Ray version is pinned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from graftwork_jobs.train.failure_policy import StopOnPermanentError

if TYPE_CHECKING:
    from ray.train import FailureConfig

# Each starts an actor, which costs seconds. The first hands out Ray Data, which we do not use; the second frees the
# workers' places when a controller dies and its cluster lives on, and ours live and die together.
_NOT_NEEDED = (DatasetsCallback, PlacementGroupCleanerCallback)


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


class Trainer(DataParallelTrainer):
    """Runs a function on all workers and restarts them if one is lost."""

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        # Never None: a RunConfig made without one makes its own.
        arguments["failure_policy"] = StopOnPermanentError(cast("FailureConfig", self.run_config.failure_config))
        arguments["scaling_policy"] = FixedWorkers(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)

    def _create_default_callbacks(self) -> list[Any]:
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, _NOT_NEEDED)]
