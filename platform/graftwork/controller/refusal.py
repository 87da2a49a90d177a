"""How a job or endpoint says that the cluster refused what it needs: a quota, a webhook, a name that is taken. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from graftwork.controller.actions import Action, Emit, SetStatus
from graftwork.controller.conditions import Finding, conditions_after, plain
from graftwork.controller.ownership import NotOursError
from graftwork.errors import PermanentError
from graftwork.spec.status import EndpointStatus, JobStatus


def tell_refusal(found: Mapping[str, Any], error: PermanentError, *, now: datetime) -> list[Action]:
    """The status with what was refused, and the news of it; nothing if it says so already.

    Args:
        found: the job or endpoint as it stands on the cluster.
        error: what the cluster said.
        now: the time.
    """
    reason = "NameTaken" if isinstance(error, NotOursError) else "Refused"
    message, generation = str(error), found["metadata"].get("generation", 0)
    model: type[JobStatus | EndpointStatus] = JobStatus if found["kind"] == "FineTuneJob" else EndpointStatus
    status = model.model_validate(found.get("status") or {})
    if isinstance(status, JobStatus):
        finding = Finding(type="Scheduled", holds=False, reason=reason, message=message)
    elif status.phase in {"Ready", "Degraded"}:  # it answers as before
        finding = Finding(type="Degraded", holds=True, reason=reason, message=message)
    else:
        finding = Finding(type="Ready", holds=False, reason=reason, message=message)
    findings = (Finding(type="Validated", holds=True, reason="Valid"), finding)
    after = status.model_copy(
        update={
            "observed_generation": generation,
            "message": message,
            "conditions": conditions_after(status.conditions, findings, now=now, generation=generation),
        }
    )
    if after == status:
        return []
    return [Emit(type="Warning", reason=reason, message=message), SetStatus(status=plain(after))]
