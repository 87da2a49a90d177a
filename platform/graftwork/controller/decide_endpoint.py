"""What to do about an InferenceEndpoint: from the endpoint, what is seen of it, and the time, to actions. Pure.

As in `decide_job`, the decision looks at what is there now only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from graftwork.controller import names
from graftwork.controller.actions import Action, Again, Apply, Delete, Emit, SetStatus
from graftwork.controller.conditions import Finding, conditions_after, holds, plain
from graftwork.controller.endpoint_objects import GRPC_PORT, PORT, EndpointRun, endpoint_objects
from graftwork.controller.exposure import GATEWAY_API, INGRESS_API
from graftwork.controller.exposure import url as external_url
from graftwork.controller.ownership import owns
from graftwork.controller.pods import PodDefaults
from graftwork.controller.ray_status import KUBERAY, why_no_pods
from graftwork.controller.read_spec import check_for_cluster, essential, problem_words, read_object
from graftwork.controller.rollback_report import GivenUpVersion, RollbackReport
from graftwork.controller.upkeep import is_due
from graftwork.errors import SpecError
from graftwork.spec.amounts import seconds_of
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.status import EndpointModelStatus, EndpointPhase, EndpointStatus

Object = Mapping[str, Any]

_NO_KUBERAY_RETRY_S = 60.0
_FOREIGN_RETRY_S = 30.0
_ALIAS_LOOK_S = 30.0
# A condition holds 32,768 characters.
_MOST_WORDS = 8_000
_TO_BE_MENDED = frozenset(
    {
        "KubeRayMissing",
        "GatewayApiMissing",
        "NameTaken",
        "ModelNotFound",
        "RegistryUnreachable",
        "PodsRefused",
        "VersionGivenUp",
    }
)
_ALIAS = re.compile(r"^[^/@]+@[^/@]+$")


@dataclass(frozen=True, kw_only=True)
class EndpointObserved:
    """What is seen of an endpoint.

    Attributes:
        endpoint: the InferenceEndpoint as it stands on the cluster.
        ray_service: the RayService of its name, if there is one.
        resolved: `NAME/VERSION` of the aliases that could be looked up.
        unresolved: why the others could not, by `NAME@ALIAS`.
        registry_is_silent: whether that is for want of an answer, rather than of the model.
        rollbacks: what its replicas gave up; None where they were not asked or do not say.
        rollbacks_unknown: why they do not say.
        has_kuberay: whether the cluster knows RayServices.
        has_gateway_api: whether it knows HTTPRoutes; asked only where that matters.
    """

    endpoint: Object
    ray_service: Object | None = None
    resolved: Mapping[str, str] = field(default_factory=dict)
    unresolved: Mapping[str, str] = field(default_factory=dict)
    registry_is_silent: bool = False
    rollbacks: RollbackReport | None = None
    rollbacks_unknown: str = ""
    has_kuberay: bool = True
    has_gateway_api: bool = True


@dataclass(frozen=True, kw_only=True)
class _State:
    phase: EndpointPhase
    reason: str
    message: str
    replicas: int = 0
    findings: tuple[Finding, ...] = ()


def aliases_of(endpoint: Object) -> list[str]:
    """The `NAME@ALIAS` references of an endpoint, each once."""
    models = endpoint.get("spec", {}).get("models") or []
    references = [model.get("model", "") for model in models if isinstance(model, Mapping)]
    return sorted({reference for reference in references if _ALIAS.match(reference)})


def decide_endpoint(observed: EndpointObserved, *, now: datetime, defaults: PodDefaults) -> list[Action]:
    """What to do now."""
    metadata = observed.endpoint["metadata"]
    if metadata.get("deletionTimestamp"):
        return []  # all of its objects are owned by it and go with it
    status = EndpointStatus.model_validate(observed.endpoint.get("status") or {})
    try:
        endpoint = read_object(observed.endpoint, InferenceEndpoint)
        check_for_cluster(endpoint)
    except SpecError as error:
        message = problem_words(error)
        finding = Finding(type="Validated", holds=False, reason="InvalidSpec", message=message)
        standing: EndpointPhase = "Degraded" if observed.ray_service is not None else "Failed"
        state = _State(phase=standing, reason="InvalidSpec", message=message, findings=(finding,))
        return _report(observed, status, state, now, {})
    if not observed.has_kuberay:
        message = f"The cluster does not know RayServices. Install KubeRay {KUBERAY} beside Graftwork."
        state = _not_ready("Pending", "KubeRayMissing", message)
        return [*_report(observed, status, state, now, {}), Again(after_s=_NO_KUBERAY_RETRY_S)]
    if observed.ray_service is not None and not owns(observed.ray_service, metadata["uid"]):
        name = observed.ray_service["metadata"]["name"]
        message = f"There is a RayService {name} that this endpoint did not make. Delete it, or rename the endpoint."
        state = _not_ready("Pending", "NameTaken", message)
        return [*_report(observed, status, state, now, {}), Again(after_s=_FOREIGN_RETRY_S)]
    exposure = endpoint.spec.kubernetes.expose
    if exposure is not None and exposure.gateway is not None and not observed.has_gateway_api:
        message = (
            "The cluster does not know HTTPRoutes. Install the Gateway API, or use spec.kubernetes.expose.ingress."
        )
        state = _not_ready("Pending", "GatewayApiMissing", message)
        return [*_report(observed, status, state, now, {}), Again(after_s=_NO_KUBERAY_RETRY_S)]
    resolved = _known_models(observed, status, follow=endpoint.spec.rollout.follow_aliases != "none")
    run = EndpointRun(
        endpoint=endpoint,
        uid=metadata["uid"],
        content=essential(endpoint),
        namespace=metadata["namespace"],
        defaults=defaults,
        resolved=resolved,
    )
    missing = [alias for alias in aliases_of(observed.endpoint) if alias not in resolved]
    state = _unresolved(observed, missing) if missing else _serving(observed.ray_service, endpoint)
    actions: list[Action] = [] if missing else _wanted(observed.ray_service, run, now)
    if observed.unresolved and not missing:
        state = _stale_models(observed, state)
    given_up: list[GivenUpVersion] = []
    if endpoint.spec.rollout.rollback is not None:
        given_up = _given_up(observed, status, resolved)
        state = _rolled_back(observed, state, given_up)
    elif any(each.type == "RollingBack" for each in status.conditions):
        state = _with(state, Finding(type="RollingBack", holds=False, reason="NoBounds"))
    again = [Again(after_s=_next_look_s(endpoint))]
    return [*actions, *_report(observed, status, state, now, resolved, run, given_up), *again]


def _known_models(observed: EndpointObserved, status: EndpointStatus, *, follow: bool) -> dict[str, str]:
    """What the aliases stand for; while the registry cannot be reached, or if none is followed, what they stood for."""
    wanted = aliases_of(observed.endpoint)
    before = {model.model: model.resolved for model in status.models}
    preferred, other = (observed.resolved, before) if follow else (before, observed.resolved)
    found = {alias: preferred.get(alias, other.get(alias, "")) for alias in wanted}
    return {alias: version for alias, version in found.items() if version}


def _next_look_s(endpoint: InferenceEndpoint) -> float:
    follow = endpoint.spec.rollout.follow_aliases
    return _ALIAS_LOOK_S if follow == "none" else min(_ALIAS_LOOK_S, seconds_of(follow))


def _wanted(ray_service: Object | None, run: EndpointRun, now: datetime) -> list[Action]:
    objects = endpoint_objects(run)
    if ray_service is not None and not is_due(now, run.uid, look_s=_next_look_s(run.endpoint)):
        applied = ray_service["metadata"].get("annotations", {}).get(names.APPLIED_ANNOTATION)
        if applied == objects[-1]["metadata"]["annotations"][names.APPLIED_ANNOTATION]:
            return []
    return [*_no_longer_wanted(run), *(Apply(manifest=manifest) for manifest in objects)]


def _no_longer_wanted(run: EndpointRun) -> list[Action]:
    """What an earlier spec may have asked for."""
    spec, exposure = run.endpoint.spec, run.endpoint.spec.kubernetes.expose
    unwanted = []
    if spec.grpc is None:
        unwanted.append(("v1", "Service", names.grpc_service_name(run.endpoint.metadata.name)))
    if spec.rollout.rollback is None:
        unwanted.append(("v1", "Service", names.replicas_service_name(run.endpoint.metadata.name)))
    if exposure is None or exposure.ingress is None:
        unwanted.append((INGRESS_API, "Ingress", run.name))
    if exposure is None or exposure.gateway is None:
        unwanted.append((GATEWAY_API, "HTTPRoute", run.name))
    return [
        Delete(api_version=version, kind=kind, namespace=run.namespace, name=name) for version, kind, name in unwanted
    ]


def _not_ready(phase: EndpointPhase, reason: str, message: str) -> _State:
    finding = Finding(type="Ready", holds=False, reason=reason, message=message)
    return _State(phase=phase, reason=reason, message=message, findings=(finding,))


def _unresolved(observed: EndpointObserved, missing: list[str]) -> _State:
    words = " ".join(f"{alias}: {observed.unresolved.get(alias, 'not looked up yet.')}" for alias in missing)
    return _not_ready("Pending", "RegistryUnreachable" if observed.registry_is_silent else "ModelNotFound", words)


def _stale_models(observed: EndpointObserved, state: _State) -> _State:
    """The registry does not answer: what is served goes on, and says that it may be old."""
    words = " ".join(f"{alias}: {why}" for alias, why in sorted(observed.unresolved.items()))
    finding = Finding(type="ModelsCurrent", holds=None, reason="RegistryUnreachable", message=words)
    return _with(state, finding)


def _given_up(observed: EndpointObserved, status: EndpointStatus, resolved: Mapping[str, str]) -> list[GivenUpVersion]:
    """What replicas do not serve of what the aliases stand for; not what they said before they followed a move."""
    told = _last_told(status) if observed.rollbacks is None else observed.rollbacks.given_up
    return [each for each in told if resolved.get(each.model) == each.given_up]


def _last_told(status: EndpointStatus) -> list[GivenUpVersion]:
    """What replicas said when they last said something: one silence does not undo a rollback."""
    words = next((each.message for each in status.conditions if each.type == "RollingBack"), "")
    return [
        GivenUpVersion(model=each.model, given_up=each.resolved, serving=each.serving, message=words)
        for each in status.models
        if each.serving is not None
    ]


def _rolled_back(observed: EndpointObserved, state: _State, given_up: list[GivenUpVersion]) -> _State:
    """The endpoint answers with versions before: it says so, and why."""
    if observed.rollbacks_unknown and not given_up:
        words = observed.rollbacks_unknown
        return _with(state, Finding(type="RollingBack", holds=None, reason="ReplicasSilent", message=words))
    if observed.rollbacks is None and not given_up:  # nothing answers, so nobody was asked
        return state
    if not given_up:
        return _with(state, Finding(type="RollingBack", holds=False, reason="AsExpected"))
    reason, words = "VersionGivenUp", " ".join(dict.fromkeys(each.message for each in given_up))[:_MOST_WORDS]
    for type_, is_so in (("RollingBack", True), ("Degraded", True), ("ModelsCurrent", False)):
        state = _with(state, Finding(type=type_, holds=is_so, reason=reason, message=words))
    return replace(state, phase="Degraded", reason=reason, message=words) if state.phase == "Ready" else state


def _with(state: _State, finding: Finding) -> _State:
    """The same with another finding, which takes the place of one on the same aspect."""
    return replace(state, findings=(*(each for each in state.findings if each.type != finding.type), finding))


def is_answering(ray_service: Object | None) -> bool:
    """Whether KubeRay says that requests reach a replica."""
    return holds((ray_service or {}).get("status"), "Ready")


def _serving(ray_service: Object | None, endpoint: InferenceEndpoint) -> _State:
    """What Serve says of the application, and KubeRay of its cluster."""
    if ray_service is None:
        return _not_ready("Pending", "Created", "The RayService is being made.")
    status = ray_service.get("status") or {}
    active = status.get("activeServiceStatus") or {}
    pending = status.get("pendingServiceStatus") or {}
    ready = is_answering(ray_service)
    upgrading = bool(pending.get("rayClusterName")) and bool(active.get("rayClusterName"))
    progressing = Finding(
        type="Progressing", holds=upgrading or not ready, reason="Upgrading" if upgrading else "Serving"
    )
    applications = active.get("applicationStatuses") or pending.get("applicationStatuses") or {}
    failing = {
        name: each.get("message", "")
        for name, each in applications.items()
        if each.get("status") in {"UNHEALTHY", "DEPLOY_FAILED"}
    }
    replicas = int(status.get("numServeEndpoints") or 0) if ready else 0
    if failing:
        words = " ".join(text for text in failing.values() if text) or "A replica cannot start. Run `graft why`."
        return _State(
            phase="Degraded" if ready else "Starting",
            reason="ReplicaFailed",
            message=words,
            replicas=replicas,
            findings=(
                Finding(type="Ready", holds=ready, reason="ReplicaFailed", message=words),
                Finding(type="Degraded", holds=True, reason="ReplicaFailed", message=words),
                progressing,
            ),
        )
    fine = Finding(type="Degraded", holds=False, reason="AsExpected")
    current = Finding(type="ModelsCurrent", holds=True, reason="Resolved")
    if ready:
        return _State(
            phase="Ready",
            reason="Ready",
            message="Answering.",
            replicas=replicas,
            findings=(Finding(type="Ready", holds=True, reason="Ready"), fine, current, progressing),
        )
    refused = why_no_pods(active) or why_no_pods(pending)
    reason, message = "Starting", "The Ray cluster and its replicas are starting."
    if refused is not None:
        reason, message = "PodsRefused", refused
    not_yet = Finding(type="Ready", holds=False, reason=reason, message=message)
    return _State(phase="Starting", reason=reason, message=message, findings=(not_yet, fine, current, progressing))


def _report(
    observed: EndpointObserved,
    status: EndpointStatus,
    state: _State,
    now: datetime,
    resolved: Mapping[str, str],
    run: EndpointRun | None = None,
    given_up: Sequence[GivenUpVersion] = (),
) -> list[Action]:
    metadata = observed.endpoint["metadata"]
    generation = metadata.get("generation", 0)
    valid = () if state.reason == "InvalidSpec" else (Finding(type="Validated", holds=True, reason="Valid"),)
    instead = {each.model: each.serving for each in given_up}
    models = [
        EndpointModelStatus(model=alias, resolved=version, serving=instead.get(alias))
        for alias, version in sorted(resolved.items())
    ]
    name = metadata["name"]
    update: dict[str, Any] = {
        "observed_generation": generation,
        "phase": state.phase,
        "message": state.message,
        "replicas": state.replicas,
        "conditions": conditions_after(status.conditions, (*valid, *state.findings), now=now, generation=generation),
    }
    if state.reason != "InvalidSpec":
        first = observed.endpoint["spec"]["models"][0]["model"]
        update["model"] = instead.get(first, resolved.get(first, first))
    if run is not None:
        grpc = run.endpoint.spec.grpc is not None
        exposure, is_made = run.endpoint.spec.kubernetes.expose, observed.ray_service is not None
        update |= {
            "ray_service": run.name,
            # Where nothing has been made yet, nothing answers.
            "url": f"http://{names.serve_host(name, run.namespace)}:{PORT}" if is_made else None,
            "grpc_address": f"{names.grpc_service_name(name)}.{run.namespace}:{GRPC_PORT}"
            if grpc and is_made
            else None,
            "external_url": external_url(exposure) if exposure is not None and is_made else None,
            "models": models,
            "max_replicas": run.endpoint.spec.autoscaling.max_replicas,
            "selector": f"{names.ENDPOINT_LABEL}={name}",
        }
    after = status.model_copy(update=update)
    if after == status:
        return []
    news: list[Action] = []
    if (status.phase, status.message) != (after.phase, after.message):
        bad = state.phase in {"Degraded", "Failed"} or state.reason in _TO_BE_MENDED
        news = [Emit(type="Warning" if bad else "Normal", reason=state.reason, message=state.message)]
    moved = {model.model: model.resolved for model in status.models}
    news += [
        Emit(type="Normal", reason="ModelChanged", message=f"{alias} is now {version} (was {moved[alias]}).")
        for alias, version in sorted(resolved.items())
        if alias in moved and moved[alias] != version
    ]
    return [*news, SetStatus(status=plain(after))]  # in this order for what `decide_job` says
