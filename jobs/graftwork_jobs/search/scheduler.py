"""Tune's side of successive halving: which trial may go on, be it at once or once others have got that far."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ray
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from graftwork_jobs.search.halving import Halving
from graftwork_jobs.search.records import TrialRecord, TrialStatus, score_of, write_trial
from graftwork_jobs.search.trial import EPOCH, FAILURE

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

_GO_ON: Final[str] = TrialScheduler.CONTINUE
_END: Final[str] = TrialScheduler.STOP
_WAIT: Final[str] = TrialScheduler.NOOP


@dataclass(kw_only=True)
class _Running:
    """A trial on its way."""

    number: int
    began: float
    history: list[dict[str, Any]] = field(default_factory=list)
    waits_at: int | None = None
    failure: str = ""
    stopped: bool = False
    unbegun: bool = False


class SearchStopped(Exception):  # noqa: N818 (no error: somebody asked for it)
    """The search was asked to end."""


class NoTrialStarted(Exception):  # noqa: N818 (what it means, its receiver says)
    """There was no room for any trial in time."""


class OrderedHalving(FIFOScheduler):
    """Starts trials in order, ends those that fall behind, and records each that ends.

    Args:
        halving: what is known about trials so far.
        values: what each trial changes, by number.
        metric: which figure of an epoch counts.
        folder: where records go.
        spent_s: seconds that earlier sessions of this search took.
        budget_s: no further trial is begun after so many seconds; None for no limit.
        waits_for: trial that computes features which all others use, so that they wait for its first epoch; None if
            they need not.
        start_within_s: the search ends with `NoTrialStarted` if no trial runs after so many seconds.
        tell: takes each record.
        stop: once set, the search ends with `SearchStopped`, and trials on their way are not recorded.
    """

    def __init__(
        self,
        *,
        halving: Halving,
        values: dict[int, dict[str, Any]],
        metric: str,
        folder: Path,
        spent_s: float,
        budget_s: float | None,
        waits_for: int | None,
        start_within_s: float,
        tell: Callable[[TrialRecord], None],
        stop: threading.Event,
    ) -> None:
        super().__init__()
        self._halving = halving
        self._values = values
        self._metric_name = metric
        self._folder = folder
        self._spent_s = spent_s
        self._budget_s = budget_s
        self._waits_for = waits_for
        self._start_within_s = start_within_s
        self._tell = tell
        self._stop = stop
        self._began = time.monotonic()
        self._running: dict[str, _Running] = {}
        self._trials: dict[str, Trial] = {}

    def __reduce__(self) -> tuple[type[FIFOScheduler], tuple[()]]:
        # Tune stores its schedulers to resume by itself; the search resumes from its own records instead.
        return (FIFOScheduler, ())

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The next trial in order. Tune asks in every round, so this is where a search is ended.

        Raises:
            SearchStopped: it was asked for.
            NoTrialStarted: none found room.
        """
        if self._stop.is_set():
            _end_processes(tune_controller)
            raise SearchStopped
        if not self._running and time.monotonic() - self._began > self._start_within_s:
            raise NoTrialStarted
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Decide about a trial that reported; then about others that waited for it."""
        running = self._of(trial)
        if FAILURE in result:
            running.failure = result[FAILURE]
            return _GO_ON
        if EPOCH in result:
            self._take(running, json.loads(result[EPOCH]))
        elif self._is_over_budget and self._halving.values:
            running.unbegun = True
            return _END
        else:
            running.waits_at = 0
        decision = self._decide(running)
        self._release(tune_controller, besides=trial)
        return decision

    def on_trial_complete(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> None:
        """Record a trial that ended by itself or was ended."""
        running = self._of(trial)
        if running.failure:
            self._end(trial, "failed", running.failure)
        else:
            self._end(trial, "stopped" if running.stopped else "finished")
        self._release(tune_controller, besides=trial)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Record a trial whose process or code failed for good."""
        error = trial.get_pickled_error() or trial.get_error()
        lines = [line for line in str(error or "").splitlines() if line.strip()]
        self._end(trial, "failed", lines[-1].strip() if lines else "its process was lost")
        self._release(tune_controller, besides=trial)

    @property
    def _is_over_budget(self) -> bool:
        return self._budget_s is not None and self._elapsed_s() >= self._budget_s

    def _of(self, trial: Trial) -> _Running:
        self._trials[trial.trial_id] = trial
        return self._running.setdefault(trial.trial_id, _Running(number=trial.config["trial"], began=time.monotonic()))

    def _take(self, running: _Running, record: dict[str, Any]) -> None:
        if record["epoch"] == 1 and record["phase"] == (running.history or [record])[0]["phase"]:
            # Its process was lost and it began anew.
            running.history.clear()
        running.history.append(record)
        running.waits_at = len(running.history)
        if running.number == self._waits_for:
            self._waits_for = None
        self._halving.report(running.number, len(running.history), record[self._metric_name])

    def _decide(self, running: _Running) -> str:
        """Go on, end, or wait: a trial that waits keeps waiting in its report."""
        if running.waits_at is None:
            return _GO_ON
        if running.waits_at == 0:
            if self._waits_for not in {None, running.number}:
                return _WAIT
            running.waits_at = None
            return _GO_ON
        goes_on = self._halving.may_go_on(running.number, running.waits_at)
        if goes_on is None:
            return _WAIT
        running.waits_at = None
        running.stopped = not goes_on
        return _GO_ON if goes_on else _END

    def _release(self, tune_controller: TuneController, *, besides: Trial) -> None:
        """Let trials go on, or end, whose decision was open."""
        for trial_id, running in list(self._running.items()):
            if trial_id == besides.trial_id or trial_id not in self._running or running.waits_at is None:
                continue
            decision = self._decide(running)
            if decision != _WAIT:
                tune_controller._execute_action(self._trials[trial_id], decision)  # noqa: SLF001 (Tune has no public way)

    def _end(self, trial: Trial, status: TrialStatus, message: str = "") -> None:
        running = self._of(trial)
        del self._running[trial.trial_id]
        if running.number == self._waits_for:
            self._waits_for = None
        if running.unbegun:
            return
        self._halving.end(running.number, finished=status == "finished")
        record = TrialRecord(
            number=running.number,
            values=self._values[running.number],
            status=status,
            score=None if status == "failed" else score_of(running.history, self._metric_name),
            history=tuple(running.history),
            seconds=time.monotonic() - running.began,
            until_s=self._elapsed_s(),
            message=message,
        )
        write_trial(self._folder, record)
        self._tell(record)

    def _elapsed_s(self) -> float:
        return self._spent_s + time.monotonic() - self._began


def _end_processes(tune_controller: TuneController) -> None:
    """End the processes of all trials: Tune would give each ten seconds for its epoch, and be called off before."""
    for trial in tune_controller.get_live_trials():
        process = trial.temporary_state.ray_actor
        if process is not None:
            ray.kill(process)
