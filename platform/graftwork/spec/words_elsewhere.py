"""What fields of a spec are called in Keras, PyTorch, Hugging Face's libraries and Ray. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# By our name: theirs, in lower case and without separators.
_OTHERS: Final[dict[str, str]] = {
    "uri": "path file files filename folder dir directory csv parquet url source dataset",
    "rows": "where filter query subset splitcolumn splitcol",
    "fraction": "split ratio share percent percentage size",
    "validation": "val valid dev eval holdout",
    "train": "training fit",
    "imageSize": "size shape inputshape imgsize targetsize resolution height width",
    "maxTokens": "maxlength maxlen maxseqlength maxsequencelength sequencelength seqlen tokens",
    "name": "model architecture arch backbone modelname application",
    "preset": "checkpoint pretrained hub",
    "learningRate": "lr rate initiallr baselr eta",
    "epochs": "numepochs numtrainepochs maxepochs iterations",
    "unfreeze": "freeze trainable frozen unfrozen tunable",
    "schedule": "scheduler lrscheduler lrschedule decay",
    "warmupEpochs": "warmup warmupsteps warmupratio",
    "batchSize": "batch bs perdevicetrainbatchsize",
    "gradientAccumulation": "accumulate accumulationsteps gradientaccumulationsteps",
    "gradientClipNorm": "clipnorm maxgradnorm gradclip clip",
    "loss": "lossfunction lossfn criterion objective",
    "optimizer": "optim algorithm",
    "mixedPrecision": "precision dtype fp16 bf16 amp",
    "seed": "randomseed randomstate",
    "workers": "numworkers processes nodes replicas",
    "gpusPerWorker": "gpus gpu usegpu numgpus device",
    "cpusPerWorker": "cpus cpu numcpus cores threads",
    "hidden": "layers units dense hiddensizes hiddenlayers",
    "dropout": "dropoutrate droprate",
    "models": "bundle bundles model",
    "minReplicas": "min",
    "maxReplicas": "max replicas numreplicas",
}


def meant_by(word: str, known: Iterable[str]) -> str | None:
    """The field that `word` stands for elsewhere; None if none of those known does.

    Args:
        word: an unknown key.
        known: fields that may stand in its place.
    """
    wanted = "".join(character for character in word.lower() if character.isalnum())
    return next((name for name in known if wanted in _OTHERS.get(name, "").split()), None)
