"""From an object on the cluster to a spec, or to what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from graftwork.errors import SpecError
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


def problem_words(error: SpecError) -> str:
    """What is wrong, for a condition's message."""
    return " ".join(
        f"{each.where}: received {each.received}, expected {each.expected}. {each.fix}" for each in error.problems
    )
