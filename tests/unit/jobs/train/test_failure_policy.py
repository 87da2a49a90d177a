"""Which failures are worth another attempt."""

from __future__ import annotations

import pytest
from ray.exceptions import RayActorError, RayTaskError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from graftwork.errors import PermanentError, Problem, SpecError, TransientError
from graftwork_jobs.train.failure_policy import StopOnPermanentError, failure_config, permanent_error


def _raised(error: Exception) -> WorkerGroupError:
    """As Ray reports what rank 1's training function raised."""
    return WorkerGroupError("rank 1 failed", {1: UserExceptionWithTraceback(error, "Traceback ...")})


SPEC_ERROR = SpecError(Problem(where="spec", received="x", expected="y", fix="Do z."))


@pytest.mark.parametrize("error", [PermanentError("diverged"), SPEC_ERROR, TypeError("a mistake"), KeyError("b")])
def test_errors_that_come_back_end_the_run_at_once(error: Exception) -> None:
    """Whatever number of restarts is allowed."""
    policy = StopOnPermanentError(failure_config(max_failures=5))
    assert policy.make_decision(_raised(error)) is FailureDecision.RAISE


@pytest.mark.parametrize("error", [TransientError("busy", delay_s=1), OSError("disk"), RuntimeError("peer is gone")])
def test_other_errors_are_tried_again(error: Exception) -> None:
    """As often as allowed, not more."""
    policy = StopOnPermanentError(failure_config(max_failures=1))
    assert policy.make_decision(_raised(error)) is FailureDecision.RETRY
    assert policy.make_decision(_raised(error)) is FailureDecision.RAISE


def test_a_lost_worker_is_replaced() -> None:
    """A killed process is no mistake."""
    policy = StopOnPermanentError(failure_config(max_failures=1))
    assert policy.make_decision(WorkerGroupError("rank 0 died", {0: RayActorError()})) is FailureDecision.RETRY


def test_placing_workers_is_not_tried_for_ever() -> None:
    """Ray's default would."""
    policy = StopOnPermanentError(failure_config(max_failures=0))
    decisions = [policy.make_decision(ControllerError(WorkerGroupStartupTimeoutError(num_workers=2))) for _ in range(4)]
    assert decisions == [FailureDecision.RETRY] * 3 + [FailureDecision.RAISE]


def test_the_error_raised_on_purpose_is_found() -> None:
    """Below Ray's wrappers, and only that kind."""
    error = PermanentError("diverged")
    assert permanent_error(_raised(error)) is error
    # What `ray.get` raises is an error of the same type, and its words are a traceback.
    wrapped = RayTaskError("set_up", "Traceback ...", error).as_instanceof_cause()
    assert isinstance(wrapped, type(error))
    assert permanent_error(ControllerError(wrapped)) is error
    assert permanent_error(_raised(OSError("disk"))) is None
    assert permanent_error(_raised(TransientError("busy", delay_s=1))) is None
