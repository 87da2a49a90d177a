"""From an object on the cluster to a spec, or to what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from graftwork.errors import Problem, SpecError
from graftwork.spec.explain import Explainer
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.load import guide_of
from graftwork.spec.yaml_text import Document

_Kind = TypeVar("_Kind", FineTuneJob, InferenceEndpoint)


def read_object(content: Mapping[str, Any], model: type[_Kind]) -> _Kind:
    """The spec an object holds.

    Raises:
        SpecError: the API server let something pass that does not work; all problems, each with field and fix.
    """
    # Labels and annotations are the cluster's business; tools put what they like there.
    document = {
        "apiVersion": content.get("apiVersion"),
        "kind": content.get("kind"),
        "metadata": {"name": content["metadata"]["name"]},
        "spec": content.get("spec", {}),
    }
    try:
        return model.model_validate(document, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        explainer = Explainer(document=Document(value=document, line=1), file="", guide=guide_of(model.__name__))
        problems = [problem for details in error.errors() for problem in explainer.explain(details)]
        raise SpecError(list(dict.fromkeys(problems))) from error


def essential(spec: FineTuneJob | InferenceEndpoint) -> dict[str, Any]:
    """The spec section without what equals the defaults.

    The API server fills defaults in, also those of fields that a newer CustomResourceDefinition brings along. What is
    trained or served does not change by that, and pods of an older image do not know such fields.
    """
    content: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True).get("spec", {})
    return content


def check_for_cluster(spec: FineTuneJob | InferenceEndpoint) -> None:
    """Make sure of what a cluster asks of a spec beyond what one machine does.

    Raises:
        SpecError: relative paths in a job; an endpoint that says nothing about who may ask.
    """
    if isinstance(spec, FineTuneJob):
        _check_paths(spec)
    else:
        _check_access(spec)


def _check_access(endpoint: InferenceEndpoint) -> None:
    """Make sure that something is said about who may ask: other pods, and often other machines, reach an endpoint.

    Raises:
        SpecError: nothing is, or only for one machine.
    """
    auth = endpoint.spec.auth
    if auth is None:
        received, expected = "nothing", "a section that says who may ask an endpoint on a cluster"
    elif auth != "none" and auth.api_keys is not None and auth.api_keys.secret_name is None:
        received, expected = "`apiKeys` without `secretName`", "the Secret that holds the keys on a cluster"
    else:
        return
    raise SpecError(
        Problem(
            where="spec.auth",
            received=received,
            expected=expected,
            fix="Run `graft keys create NAME`, `kubectl create secret generic SECRET --from-file=keys.yaml`, and add "
            "`auth: {apiKeys: {secretName: SECRET}}`; or let everyone ask with `auth: none`.",
        )
    )


def _check_paths(job: FineTuneJob) -> None:
    """Make sure that no path is relative: pods have none of the files beside the spec.

    Raises:
        SpecError: some are.
    """
    data, backbone = job.spec.data, job.spec.backbone
    paths = {
        "spec.data.train.uri": data.train.uri,
        "spec.data.validation.uri": data.validation.uri,
        "spec.data.test.uri": data.test.uri,
        **{f"spec.data.extraTests[{place}].uri": each.uri for place, each in enumerate(data.extra_tests)},
        "spec.backbone.path": backbone.path,
        "spec.backbone.weights": backbone.weights if backbone.weights.endswith(".h5") else None,
    }
    relative = [(where, path) for where, path in paths.items() if path is not None and _is_relative(path)]
    if relative:
        raise SpecError(
            [
                Problem(
                    where=where,
                    received=f"the relative path `{path}`",
                    expected="a place that pods on a cluster reach",
                    fix="Use a URI such as s3://BUCKET/FOLDER, or a path on one of `kubernetes.volumes`.",
                )
                for where, path in relative
            ]
        )


def _is_relative(path: str) -> bool:
    return not ("://" in path or "::" in path or path.startswith(("/", "~")))


def problem_words(error: SpecError) -> str:
    """What is wrong, for a condition's message."""
    return " ".join(
        f"{each.where}: received {each.received}, expected {each.expected}. {each.fix}" for each in error.problems
    )
