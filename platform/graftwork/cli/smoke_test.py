"""`graft smoke-test`: whether a cluster trains, registers and serves. What `helm test` runs in a pod.

A small job learns kinds of emoji from the pictures and the backbone that the training image brings, an endpoint serves
what it registered, and is asked. All of it is taken away again, whatever came of it.
"""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from graftwork.cli.cluster_options import cluster_options, place_of
from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option
from graftwork.cli.why import cause_of
from graftwork.errors import GraftworkError, PermanentError
from graftwork.spec.amounts import seconds_of
from graftwork.spec.base import API_VERSION, DURATION_PATTERN
from graftwork.spec.load import KINDS

if TYPE_CHECKING:
    from graftwork.controller.cluster import Cluster, Object

NAME: Final = "graft-smoke-test"
EXAMPLES: Final = "/opt/graftwork/examples"
"""Where the training image has pictures and a backbone; the Dockerfile puts them there."""
_LOOK_EVERY_S: Final = 2.0
_SIDE = 64
_ENOUGH: Final = 0.99  # scores are rounded


def job(*, register: bool) -> Object:
    """A job of half a minute that learns what chance does not give: one of ten kinds is right one time in ten."""
    spec: Object = {
        "task": "image-classification",
        "backbone": {"path": f"{EXAMPLES}/efficientnet_lite0/efficientnet_lite0.keras"},
        "input": {"imageSize": [_SIDE, _SIDE]},
        "data": {
            "train": {"uri": f"{EXAMPLES}/emoji10/google-train"},
            "validation": {"fraction": 0.15},
            "test": {"uri": f"{EXAMPLES}/emoji10/google-test"},
        },
        "phases": [{"name": "head", "epochs": 3, "learningRate": 0.003}],
        "training": {"batchSize": 32, "seed": 7},
        "evaluation": {"gates": [{"metric": "accuracy", "min": 0.3}]},
        "kubernetes": {"retries": 0, "ttlAfterFinished": "1h"},
    }
    if register:
        spec["register"] = {"model": NAME}
    return {"apiVersion": API_VERSION, "kind": "FineTuneJob", "metadata": {"name": NAME}, "spec": spec}


def endpoint(model: str) -> Object:
    """An endpoint of one replica.

    Args:
        model: `NAME/VERSION`.
    """
    spec = {
        "models": [{"model": model, "name": NAME}],
        "auth": "none",
        "resources": {"cpus": 1},
        "autoscaling": {"minReplicas": 1, "maxReplicas": 1},
        "kubernetes": {"memory": "2Gi"},
    }
    return {"apiVersion": API_VERSION, "kind": "InferenceEndpoint", "metadata": {"name": NAME}, "spec": spec}


def picture() -> bytes:
    """A picture that needs no library: a PNG of one colour.

    Source: https://www.w3.org/TR/png-3/ (chunks, and filter type 0 before each row)
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes((240, 200, 40)) * _SIDE) * _SIDE
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def ask_over_http(url: str) -> Mapping[str, Any]:
    """What an endpoint answers to the picture.

    Raises:
        PermanentError: it does not.
    """
    import httpx

    try:
        answer = httpx.post(f"{url}/v1/endpoints/{NAME}/predict", params={"top": 10}, content=picture(), timeout=60)
        answer.raise_for_status()
        found: Mapping[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise PermanentError(
            f"The endpoint is ready, but {url} does not answer a prediction ({error}). Check the cluster's DNS, and "
            "that its network policies let pods reach endpoints."
        ) from error
    return found


def forget_over_http(tracking_uri: str) -> None:
    """Take the model out of an MLflow server, if it is there; the run that made it stays among the runs.

    Source: https://mlflow.org/docs/latest/api_reference/rest-api.html (Delete RegisteredModel)

    Raises:
        PermanentError: the server refuses, or does not answer.
    """
    import httpx

    url = f"{tracking_uri.rstrip('/')}/api/2.0/mlflow/registered-models/delete"
    try:
        answer = httpx.request("DELETE", url, json={"name": NAME}, timeout=30)
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise PermanentError(f"The model {NAME} stays in the registry ({error}). Delete it there.") from error


@dataclass(frozen=True, kw_only=True)
class SmokeTest:
    """One run of it.

    Attributes:
        cluster: where.
        namespace: where.
        registry: the MLflow server; without one only the job is tried.
        ask: an endpoint's answer to the picture, by its URL.
        forget: takes the model out of the registry.
        clock: seconds that only grow.
        sleep: waits so many seconds.
        say: prints a line.
    """

    cluster: Cluster
    namespace: str
    registry: str | None
    ask: Callable[[str], Mapping[str, Any]] = ask_over_http
    forget: Callable[[str], None] = forget_over_http
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = click.echo

    def run(self, *, timeout_s: float) -> dict[str, Any]:
        """Try all of it, and take it away again.

        Args:
            timeout_s: for job and endpoint together.

        Returns:
            What came about: accuracy, and with a registry model and URL.

        Raises:
            PermanentError: something did not come about; with the cause.
        """
        deadline = self.clock() + timeout_s
        self._take_away()  # what one that was cut off left
        while any(self._found(kind) is not None for kind in KINDS):
            if self.clock() > deadline:
                raise PermanentError(f"An earlier {NAME} is still being deleted. Look at its finalizers with kubectl.")
            self.sleep(_LOOK_EVERY_S)
        try:
            result = self._try(deadline)
        finally:
            self._take_away()
        self.say("All is well.")
        return result

    def _try(self, deadline: float) -> dict[str, Any]:
        status = self._bring(job(register=self.registry is not None), "Succeeded", deadline)
        self.say(f"Trained: accuracy {status.get('accuracy', 'unknown')} on the test set.")
        if self.registry is None:
            self.say("There is no model registry (mlflow.trackingUri, mlflow.server): the endpoint is left out.")
            return {"accuracy": status.get("accuracy")}
        if not status.get("model"):
            raise PermanentError("The job succeeded but tells no registered model. Check the registry's log.")
        result = {"accuracy": status.get("accuracy"), "model": status["model"]}
        status = self._bring(endpoint(status["model"]), "Ready", deadline)
        scores = self.ask(status["url"])["predictions"][0]["scores"]
        if sum(scores.values()) < _ENOUGH:
            raise PermanentError(f"The scores of all labels add up to less than 1: {scores}. Check the serving image.")
        self.say(f"Served: {status['url']} answers with {len(scores)} labels.")
        return {**result, "url": status["url"]}

    def _bring(self, content: Object, phase: str, deadline: float) -> Mapping[str, Any]:
        """Make a job or endpoint, and wait until it is in a phase; its status."""
        kind = content["kind"]
        self.cluster.create({**content, "metadata": {**content["metadata"], "namespace": self.namespace}})
        said = ""
        while True:
            found = self._found(kind)
            if found is None:
                raise PermanentError(f"Somebody deleted {kind}/{NAME} while it was waited for. Run the test again.")
            status: Mapping[str, Any] = found.get("status") or {}
            words = f"{status.get('phase', 'Pending')}. {status.get('message', '')}".strip()
            if words != said:
                self.say(f"{kind}/{NAME}: {words}")
                said = words
            if status.get("phase") == phase:
                return status
            if status.get("phase") == "Failed" or self.clock() > deadline:
                raise PermanentError(self._reason(found, words, phase))
            self.sleep(_LOOK_EVERY_S)

    def _reason(self, found: Object, words: str, phase: str) -> str:
        head = f"{found['kind']}/{NAME} is not {phase}: {words}"
        try:
            cause = cause_of(found, self.cluster)
        except GraftworkError as error:
            return f"{head} (Why, is not known: {error})"
        if cause is None:
            return f"{head} Allow more time with --timeout, or look with: graft status {NAME}"
        return f"{head} {cause.reason}: {cause.what} {cause.fix.replace('NAME', NAME)}"

    def _found(self, kind: str) -> Object | None:
        return self.cluster.get(API_VERSION, kind, self.namespace, NAME)

    def _take_away(self) -> None:
        for kind in KINDS:
            self.cluster.delete(API_VERSION, kind, self.namespace, NAME)
        if self.registry is not None:
            self.forget(self.registry)


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> int:
    if not re.fullmatch(DURATION_PATTERN, value):
        raise click.BadParameter(f"{value!r} is no time such as 90s, 30m or 2h.")
    return seconds_of(value)


@click.command("smoke-test")
@click.option("--timeout", callback=_seconds, default="30m", show_default=True, help="How long it may take in all.")
@cluster_options
@output_option
def command(timeout: int, context: str | None, namespace: str | None, output: Output) -> None:
    """Train something small on the cluster, serve it and ask for a prediction; then remove it.

    Runs in a pod of the cluster, where endpoints are reached: `helm test` does so. With MLFLOW_TRACKING_URI the model
    is registered and served.
    """
    from graftwork.settings import load_operator_settings

    place = place_of(context, namespace)
    registry = load_operator_settings().tracking_uri
    say = partial(click.echo, err=output == "json")
    test = SmokeTest(cluster=place.cluster, namespace=place.namespace, registry=registry, say=say)
    result = test.run(timeout_s=timeout)
    if output == "json":
        print_json(result)
