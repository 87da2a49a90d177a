"""How a worker's process is set up before anything is computed: Keras' backend, its threads, its devices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from graftwork.compiled_programs import keep_compiled_programs
from graftwork.errors import PermanentError
from graftwork.settings import load_settings, set_process_defaults
from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork.spec.job_training import KerasBackend
from graftwork_jobs.keras_setup import gpu_capabilities, set_up_keras

# Of a GPU's memory, what JAX takes for itself at the start of a process that has the GPU alone: its own default.
_JAX_MEMORY_SHARE = 0.75


@dataclass(frozen=True, kw_only=True)
class WorkerProcess:
    """What a worker's process is to be like.

    Attributes:
        backend: what Keras runs on.
        threads: of a worker's operations.
        gpus: what it has of GPUs: none, a share of one, or one.
    """

    backend: KerasBackend = "tensorflow"
    threads: int = 1
    gpus: float = 0.0

    @classmethod
    def of_job(cls, spec: FineTuneJobSpec) -> Self:
        """One thread for each core of a worker, at least one."""
        return cls(
            backend=spec.training.backend,
            threads=max(1, math.floor(spec.scaling.cpus_per_worker)),
            gpus=spec.scaling.gpus_per_worker,
        )

    def set_up(self) -> None:
        """Load Keras, limit its threads and choose its devices."""
        if self.backend == "jax":
            # XLA takes the number of its threads from nowhere else.
            set_process_defaults({"NPROC": str(self.threads)})
            if not self.gpus:
                set_process_defaults({"JAX_PLATFORMS": "cpu"})
            elif self.gpus < 1:
                # What has the other shares needs its part of the memory.
                set_process_defaults({"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{_JAX_MEMORY_SHARE * self.gpus:.4f}"})
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

    def check_devices(self) -> None:
        """Make sure that what was promised a GPU sees one; call it once workers that compute together have met.

        Raises:
            PermanentError: it would compute on the CPU.
        """
        if self.gpus and not gpu_capabilities():
            library = {"jax": "JAX", "tensorflow": "TensorFlow"}[self.backend]
            raise PermanentError(
                f"{library} sees no GPU in a worker's process, though scaling.gpusPerWorker asks for {self.gpus:g}. "
                "Install its CUDA libraries where the workers run (pip install 'graftwork[gpu]'; on Kubernetes name "
                "the image train-gpu) and look there with `graft doctor` whether the driver works, or remove "
                "gpusPerWorker."
            )
