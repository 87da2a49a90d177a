"""Chooses the Keras backend of this process. Call it before anything imports Keras."""

from __future__ import annotations

import os
import sys

from graftwork.errors import PermanentError


def set_up_keras(backend: str) -> None:
    """Make Keras use a backend, and TensorFlow keep its start-up chatter to itself.

    Args:
        backend: `tensorflow`.

    Raises:
        PermanentError: Keras is loaded already, with another backend.
    """
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != backend:
        raise PermanentError(
            f"Keras runs on {loaded.backend.backend()} in this process, the job asks for {backend}. "
            "Start a new process for it."
        )
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
