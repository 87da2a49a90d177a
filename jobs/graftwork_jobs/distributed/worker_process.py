"""How a worker's process is set up before anything is computed: Keras' backend, its threads, its devices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from graftwork.compiled_programs import keep_compiled_programs
from graftwork.settings import load_settings, set_process_defaults
from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork.spec.job_training import KerasBackend
from graftwork_jobs.keras_setup import set_up_keras


@dataclass(frozen=True, kw_only=True)
class WorkerProcess:
    """What a worker's process is to be like.

    Attributes:
        backend: what Keras runs on.
        threads: of a worker's operations.
        has_gpu: whether it may compute on a GPU.
    """

    backend: KerasBackend = "tensorflow"
    threads: int = 1
    has_gpu: bool = False

    @classmethod
    def of_job(cls, spec: FineTuneJobSpec) -> Self:
        """One thread for each core of a worker, at least one."""
        return cls(
            backend=spec.training.backend,
            threads=max(1, math.floor(spec.scaling.cpus_per_worker)),
            has_gpu=spec.scaling.gpus_per_worker > 0,
        )

    def set_up(self) -> None:
        """Load Keras, limit its threads and choose its devices."""
        if self.backend == "jax":
            # XLA takes the number of its threads from nowhere else.
            set_process_defaults({"NPROC": str(self.threads)})
            if not self.has_gpu:
                set_process_defaults({"JAX_PLATFORMS": "cpu"})
            keep_compiled_programs(load_settings().programs_dir)
        set_up_keras(self.backend)
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(self.threads)
        tf.config.threading.set_inter_op_parallelism_threads(self.threads)
        if self.backend == "jax":
            # Only its data pipelines run; the GPU's memory is JAX's.
            tf.config.set_visible_devices([], "GPU")
            return
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
