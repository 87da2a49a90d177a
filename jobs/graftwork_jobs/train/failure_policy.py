"""Which failures of a run are worth another attempt. A lost process is; an error that would come back is not."""

from __future__ import annotations

from collections.abc import Iterator

from ray.exceptions import RayTaskError
from ray.train import FailureConfig
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

from graftwork.errors import GraftworkError, TransientError

# Ray tries for ever to place workers by default; each attempt has its own deadline.
_PLACEMENT_ATTEMPTS = 3
# A mistake in the code or its input comes back at every attempt, unlike a lost process, connection or file.
_MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)


def failure_config(max_failures: int) -> FailureConfig:
    """Restarts after lost workers as the spec says; attempts to place them are limited."""
    return FailureConfig(max_failures=max_failures, controller_failure_limit=_PLACEMENT_ATTEMPTS)


class StopOnPermanentError(DefaultFailurePolicy):
    """Restarts lost workers, but gives up at once on errors that would come back."""

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Decide about one failure."""
        causes = list(_causes(training_failed_error))
        if permanent_error(training_failed_error) is not None or any(isinstance(cause, _MISTAKES) for cause in causes):
            return FailureDecision.RAISE
        return super().make_decision(training_failed_error)


def permanent_error(failure: BaseException) -> GraftworkError | None:
    """The error a worker raised on purpose, if one did."""
    for cause in _causes(failure):
        # Ray makes its wrapper an instance of what it wraps, and a traceback its words.
        is_wrapper = isinstance(cause, RayTaskError)
        if isinstance(cause, GraftworkError) and not isinstance(cause, TransientError) and not is_wrapper:
            return cause
    return None


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """A failure and what Ray wrapped in it."""
    yield failure
    match failure:
        case WorkerGroupError():
            inner = list(failure.worker_failures.values())
        case ControllerError():
            inner = [failure.controller_failure]
        case _:
            inner = [getattr(failure, "_base_exc", None), getattr(failure, "cause", None)]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)
