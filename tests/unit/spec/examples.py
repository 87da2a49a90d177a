"""Valid specs that use every section, as plain data; tests change them."""

from __future__ import annotations

import copy
from typing import Any

JOB: dict[str, Any] = {
    "apiVersion": "graftwork.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "flowers", "labels": {"team": "vision"}, "annotations": {"note": "x"}},
    "spec": {
        "task": "image-classification",
        "backbone": {"name": "EfficientNetB0", "weights": "imagenet"},
        "input": {"imageSize": [224, 192], "resize": "pad"},
        "data": {
            "train": {"uri": "/data/train", "format": "image-folder"},
            "validation": {"fraction": 0.2},
            "test": {
                "uri": "/data/test.csv",
                "pathColumn": "file",
                "labelColumn": "class",
                "rows": {"column": "split", "values": ["test"]},
            },
            "extraTests": [{"name": "other-camera", "uri": "/data/other"}],
            "onBadImage": "skip",
        },
        "augment": [{"flip": "horizontal"}, {"rotate": 0.1}],
        "features": {"views": 4},
        "head": {"pooling": "avg", "hidden": [64], "dropout": 0.2},
        "phases": [
            {"name": "head", "epochs": 10, "unfreeze": "none", "learningRate": 1e-3},
            {
                "name": "tune",
                "epochs": 5,
                "unfreeze": {"fromLayer": "block6a"},
                "learningRate": 1e-5,
                "schedule": "cosine",
                "warmupEpochs": 0.5,
            },
        ],
        "training": {
            "batchSize": 64,
            "gradientAccumulation": 2,
            "earlyStopping": {"monitor": "val_accuracy", "patience": 3},
            "reduceOnPlateau": {"factor": 0.5},
            "classWeights": "balanced",
            "seed": 7,
        },
        "scaling": {"workers": 4, "gpusPerWorker": 1},
        "evaluation": {
            "gates": [{"metric": "accuracy", "min": 0.9}, {"metric": "loss", "notWorseThan": "champion"}],
            "baseline": "random-weights",
        },
        "register": {"model": "flowers", "alias": "champion"},
    },
}

ENDPOINT: dict[str, Any] = {
    "apiVersion": "graftwork.dev/v1alpha1",
    "kind": "InferenceEndpoint",
    "metadata": {"name": "flowers"},
    "spec": {
        "models": [
            {"model": "flowers@champion", "traffic": 90},
            {"model": "flowers@challenger", "traffic": 10},
            {"model": "flowers/2", "name": "old"},
            {"model": "flowers@candidate", "shadow": 0.5},
        ],
        "routing": {"stickyHeader": "x-user-id"},
        "repository": {"models": ["flowers-*"], "alias": "champion", "memory": "512Mi"},
        "rollout": {"followAliases": "10s", "rollback": {"maxErrorRate": 0.05, "window": "5m"}},
        "engine": "auto",
        "autoscaling": {"minReplicas": 1, "maxReplicas": 2, "targetOngoingRequests": 8},
        "batching": {"maxBatchSize": 32},
        "resources": {"cpus": 2},
        "limits": {"maxRequestBytes": 1048576},
        "http": {"host": "127.0.0.1", "port": 8001},
        "grpc": {"host": "127.0.0.1", "port": 8002},
        "cors": {"allowedOrigins": ["https://app.example.com", "http://localhost:3000"]},
        "auth": {
            "apiKeys": {"file": "keys.yaml", "secretName": "flowers-keys"},
            "jwt": {"issuer": "https://login.example.com", "audience": "flowers", "modelsClaim": "models"},
        },
    },
}


def changed(base: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy with the value at `path` replaced, or added."""
    result = copy.deepcopy(base)
    holder: Any = result
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return result


def without(base: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    """A copy without the entry at `path`."""
    result = copy.deepcopy(base)
    holder: Any = result
    for step in path[:-1]:
        holder = holder[step]
    del holder[path[-1]]
    return result
