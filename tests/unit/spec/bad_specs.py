"""Specs that do not work, each wrong in one way, with what its error must name; for the models and the API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.unit.spec.examples import ENDPOINT, JOB, changed, without

TEXT_JOB: dict[str, Any] = {
    **JOB,
    "spec": {
        "task": "text-classification",
        "backbone": {"preset": "bert_tiny_en_uncased"},
        "data": {"train": {"uri": "train.csv"}},
        "phases": [{"name": "head", "epochs": 1, "learningRate": 0.001}],
    },
}


@dataclass(frozen=True, kw_only=True)
class BadSpec:
    """One of them.

    Attributes:
        content: the object.
        names: a word that the error has to hold.
    """

    content: dict[str, Any]
    names: str


def _job(names: str, path: tuple[str | int, ...], value: Any, base: dict[str, Any] = JOB) -> BadSpec:
    return BadSpec(content=changed(base, ("spec", *path), value), names=names)


GPU_ENDPOINT = changed(ENDPOINT, ("spec", "resources"), {"gpus": 0.5})


def _endpoint(names: str, path: tuple[str | int, ...], value: Any, *, base: dict[str, Any] = ENDPOINT) -> BadSpec:
    return BadSpec(content=changed(base, ("spec", *path), value), names=names)


BAD_SPECS: dict[str, BadSpec] = {
    "unknown key": _job("spec.typo", ("typo",), 1),
    "unknown task": _job("spec.task", ("task",), "cooking"),
    "no phases": BadSpec(content=without(JOB, ("spec", "phases")), names="spec.phases"),
    "empty phases": _job("spec.phases", ("phases",), []),
    "phase names twice": _job("spec.phases[1]", ("phases", 1, "name"), "head"),
    "text as a number": _job("workers", ("scaling", "workers"), "four"),
    "too few workers": _job("spec.scaling.workers", ("scaling", "workers"), 0),
    "more workers than examples": _job("workers", ("scaling", "workers"), 64),
    "learning rate zero": _job("learningRate", ("phases", 0, "learningRate"), 0),
    "unfreeze no word": _job("unfreeze", ("phases", 0, "unfreeze"), "nonee"),
    "unfreeze a number": _job("unfreeze", ("phases", 0, "unfreeze"), 3),
    "unfreeze two keys": _job("unfreeze", ("phases", 0, "unfreeze"), {"lastLayers": 2, "fraction": 0.2}),
    "warm-up longer than the phase": _job("warmupEpochs", ("phases", 1, "warmupEpochs"), 7),
    "two backbones": _job("preset", ("backbone", "preset"), "resnet_50_imagenet"),
    "four fields of a schedule": _job("cron", ("schedule",), {"cron": "0 3 * *"}),
    "a schedule of no zone": _job("timeZone", ("schedule",), {"cron": "0 3 * * *", "timeZone": "Europe / Berlin"}),
    "suspended beside a schedule": BadSpec(
        content=changed(
            changed(JOB, ("spec", "schedule"), {"cron": "0 3 * * *"}), ("spec", "kubernetes"), {"suspend": True}
        ),
        names="suspend",
    ),
    "mixing twice": _job("augment", ("augment",), [{"cutmix": 1.0}, {"cutmix": 0.5}]),
    "two changes in one entry": _job("rotate", ("augment", 0, "rotate"), 0.1),
    "a split twice": _job("fraction", ("data", "validation", "uri"), "other"),
    "format beside fraction": _job("format", ("data", "validation", "format"), "csv"),
    "rows beside fraction": _job(
        "rows",
        ("data", "validation"),
        {"fraction": 0.2, "rows": {"column": "split", "values": ["val"]}},
    ),
    "rows of no value": _job("values", ("data", "test", "rows"), {"column": "split", "values": []}),
    "splits of everything": _job(
        "less than 1", ("data",), {"train": {"uri": "a"}, "validation": {"fraction": 0.5}, "test": {"fraction": 0.5}}
    ),
    "test set named train": _job("extraTests", ("data", "extraTests", 0, "name"), "train"),
    "views without augmentation": BadSpec(content=without(JOB, ("spec", "augment")), names="features.views"),
    "views without cache": _job("cache", ("features", "cache"), "none"),
    "batch in uneven pieces": _job("gradientAccumulation", ("training", "gradientAccumulation"), 3),
    "a gate without bound": _job("notWorseThan", ("evaluation", "gates", 0), {"metric": "accuracy"}),
    "a gate the wrong way": _job("max", ("evaluation", "gates", 0), {"metric": "ece", "min": 0.1}),
    "gate bounds crossed": _job("max", ("evaluation", "gates", 0), {"metric": "loss", "min": 0.9, "max": 0.1}),
    "calibrated and averaged": _job(
        "calibration", ("evaluation",), {"calibration": "temperature", "testTimeAugmentation": {"serve": True}}
    ),
    "margin of nothing": _job("margin", ("evaluation", "gates", 0), {"metric": "loss", "max": 1, "margin": 0.1}),
    "slices compared": _job(
        "slice",
        ("evaluation",),
        {
            "slices": ["camera"],
            "gates": [{"metric": "loss", "notWorseThan": "champion", "slice": {"column": "camera"}}],
        },
    ),
    "two rules of a threshold": _job("minRecall", ("evaluation", "threshold"), {"maximize": "f1", "minRecall": 0.9}),
    "champion of nothing": BadSpec(content=without(JOB, ("spec", "register")), names="register"),
    "one and a half GPUs": _job("gpusPerWorker", ("scaling", "gpusPerWorker"), 1.5),
    "two GPUs a worker": _job("gpusPerWorker", ("scaling", "gpusPerWorker"), 2),
    "two workers on one GPU": _job("gpusPerWorker", ("scaling",), {"workers": 2, "gpusPerWorker": 0.5}),
    "picture size for texts": _job("input.imageSize", ("input",), {"imageSize": [64, 64]}, base=TEXT_JOB),
    "augmented texts": _job("augment", ("augment",), [{"flip": "horizontal"}], base=TEXT_JOB),
    "tokens for pictures": _job("input.maxTokens", ("input", "maxTokens"), 64),
    "picture with one side": _job("imageSize", ("input", "imageSize"), [64]),
    "range upside down": _job("uniform", ("search",), {"space": {"head.dropout": {"uniform": [0.5, 0.1]}}}),
    "order of magnitude of zero": _job(
        "logUniform", ("search",), {"space": {"phases.head.learningRate": {"logUniform": [0, 0.1]}}}
    ),
    "storage on no volume": _job("storage", ("kubernetes",), {"storage": "/data"}),
    "variable of two sources": _job(
        "env[0]", ("kubernetes",), {"env": [{"name": "A", "value": "1", "secret": {"name": "a", "key": "b"}}]}
    ),
    "toleration of a value": _job(
        "tolerations[0]", ("kubernetes",), {"tolerations": [{"key": "gpu", "value": "true"}]}
    ),
    "a volume over another": _job("volumes", ("kubernetes",), {"volumes": [{"claim": "home", "path": "/home/graft"}]}),
    "two volumes at one place": _job(
        "volumes",
        ("kubernetes",),
        {"volumes": [{"claim": "a", "path": "/data"}, {"claim": "b", "path": "/data"}]},
    ),
    "a variable twice": _job(
        "env", ("kubernetes",), {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}
    ),
    "memory without unit": _job("memory", ("kubernetes",), {"memory": "4000"}),
    "deadline without unit": _job("deadline", ("kubernetes",), {"deadline": "2"}),
    "fewer replicas than the least": _endpoint("maxReplicas", ("autoscaling",), {"minReplicas": 3, "maxReplicas": 2}),
    "gRPC while all sleep": _endpoint("minReplicas", ("autoscaling", "minReplicas"), 0),
    "two models of one name": _endpoint("name", ("models",), [{"model": "a@b"}, {"model": "a@b"}]),
    "an origin with a path": _endpoint("allowedOrigins", ("cors",), {"allowedOrigins": ["https://A.example/x"]}),
    "all origins below a domain": _endpoint("allowedOrigins", ("cors",), {"allowedOrigins": ["https://*.example.com"]}),
    "traffic of a shadow": _endpoint("traffic", ("models", 1), {"model": "a@b", "traffic": 1, "shadow": 0.5}),
    "a repository of nothing": _endpoint("models", ("repository",), {"models": []}),
    "a repository by path": _endpoint("repository.models", ("repository",), {"models": ["../flowers"]}),
    "rollback without a bound": _endpoint("maxErrorRate", ("rollout",), {"rollback": {"minRequests": 5}}),
    "aliases followed every minute or so": _endpoint("followAliases", ("rollout",), {"followAliases": "often"}),
    "no models": _endpoint("spec.models", ("models",), []),
    "no CPUs": _endpoint("cpus", ("resources", "cpus"), 0),
    "CPUs in words": _endpoint("cpus", ("resources", "cpus"), "many"),
    "near and far": _job("topology", ("kubernetes",), {"topology": {"pack": "zone", "spread": "zone"}}),
    "no label's key": _job("pack", ("kubernetes",), {"topology": {"pack": "a zone"}}),
    "a version behind an at sign": _endpoint("spec.models[0]", ("models",), [{"model": "flowers@3"}]),
    "a GPU for OpenVINO": _endpoint("gpus", ("engine",), "openvino", base=GPU_ENDPOINT),
    "two GPUs": _endpoint("gpus", ("resources", "gpus"), 2),
    "no engine": _endpoint("engine", ("engine",), "magic"),
    "port out of range": _endpoint("port", ("http", "port"), 70000),
    "one port for two protocols": _endpoint("grpc.port", ("grpc",), {"port": 8001}),
}

# What structural schemas and CEL cannot say; the operator refuses these with a condition.
ONLY_THE_OPERATOR_KNOWS: dict[str, BadSpec] = {
    "mixing before a change": _job(
        "augment[1]", ("augment",), [{"mixup": 0.2}, {"flip": "horizontal"}], without(JOB, ("spec", "features"))
    ),
    "a schedule without times": _job("cron", ("schedule",), {"cron": "0 3 31 2 *"}),
    "an hour too many": _job("cron", ("schedule",), {"cron": "0 24 * * *"}),
    "a zone that is none": _job("timeZone", ("schedule",), {"cron": "0 3 * * *", "timeZone": "Europe/Atlantis"}),
    "unfreezing nothing": _job("oneBlockEvery", ("phases", 1, "unfreeze"), {"gradually": {"oneBlockEvery": 9}}),
    "a secret with a space": _endpoint("secretName", ("auth", "apiKeys", "secretName"), "a b"),
    "nobody may ask": _endpoint("auth", ("auth",), {}),
    "a shared secret": _endpoint("algorithms", ("auth", "jwt", "algorithms"), ["HS256"]),
    "keys anyone could exchange": _endpoint("keys", ("auth", "jwt", "keys"), "http://login.example.com/keys"),
    "an issuer without an address": _endpoint("keys", ("auth", "jwt", "issuer"), "me"),
    "a burst beyond nothing": _endpoint("burst", ("auth", "jwt", "burst"), 3),
    "keys in no place": _endpoint("apiKeys", ("auth", "apiKeys"), {}),
    "open to the network, and nothing said about who may ask": BadSpec(
        content=changed(without(ENDPOINT, ("spec", "auth")), ("spec", "http", "host"), "10.0.0.1"), names="auth"
    ),
    "search of no field": _job("search", ("search",), {"space": {"head.nothing": {"uniform": [0.1, 0.5]}}}),
    "traffic of 90 percent": _endpoint(
        "spec.models[1].traffic", ("models",), [{"model": "a@b", "traffic": 80}, {"model": "a@c", "traffic": 10}]
    ),
    "two versions without traffic": _endpoint("name", ("models",), [{"model": "a@b"}, {"model": "a@c"}]),
    "a shadow of nothing": _endpoint("shadow", ("models",), [{"model": "a@b", "shadow": 0.5}]),
    "gate on an unknown slice": _job(
        "column",
        ("evaluation",),
        {"slices": ["camera"], "gates": [{"metric": "loss", "max": 1, "slice": {"column": "camra"}}]},
    ),
    "slice twice": _job("slices", ("evaluation", "slices"), ["camera", "camera"]),
    "unfreeze an unknown key": _job("unfreeze", ("phases", 0, "unfreeze"), {"upTo": 3}),
}
