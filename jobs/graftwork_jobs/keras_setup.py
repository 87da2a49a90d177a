"""Chooses the Keras backend of this process and loads it quietly. Call it before anything imports Keras."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from graftwork.errors import PermanentError
from graftwork.spec.job_training import KerasBackend


def set_up_keras(backend: KerasBackend) -> None:
    """Make Keras use a backend, and load it without its start-up chatter.

    TensorFlow is loaded in any case: its pipelines feed both backends.

    Args:
        backend: as in a job's spec.

    Raises:
        PermanentError: Keras is loaded already, with another backend.
    """
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != backend:
        raise PermanentError(
            f"Keras runs on {loaded.backend.backend()} in this process, the job asks for {backend}. "
            "Start a new process for it."
        )
    os.environ["KERAS_BACKEND"] = backend  # noqa: TID251 (Keras takes it from there; nothing is read)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # noqa: TID251 (likewise, unless the user chose)
    with _native_stderr_kept_back():
        import tensorflow as tf

        # The first look for devices prints as well.
        tf.config.list_physical_devices()
        import keras

        del keras


def gpu_capabilities() -> list[tuple[int, ...]]:
    """Compute capability of each GPU of this process, such as (8, 0); (0, 0) where it is not known."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        gpus = [device for device in jax.local_devices() if device.platform == "gpu"]
        return [tuple(map(int, getattr(gpu, "compute_capability", "0.0").split("."))) for gpu in gpus]
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return [detail.get("compute_capability", (0, 0)) for detail in details]


@contextmanager
def _native_stderr_kept_back() -> Iterator[None]:
    """Keep what C++ libraries print while they load, and show it only if loading fails.

    TensorFlow writes some lines before its log level applies (seen with 2.21: even TF_CPP_MIN_LOG_LEVEL=3 lets them
    through).
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(real, 2)
            kept.seek(0)
            with os.fdopen(os.dup(2), "wb") as stderr:
                shutil.copyfileobj(kept, stderr)
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
