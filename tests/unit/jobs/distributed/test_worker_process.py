"""A worker's process and the GPU it was promised."""

from __future__ import annotations

import pytest

from graftwork.errors import PermanentError
from graftwork_jobs.distributed import worker_process
from graftwork_jobs.distributed.worker_process import WorkerProcess


def test_a_worker_that_sees_no_gpu_does_not_train_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be many times slower, and nobody would know why."""
    monkeypatch.setattr(worker_process, "gpu_capabilities", list)
    with pytest.raises(PermanentError, match=r"JAX sees no GPU .*gpusPerWorker asks for 0\.5.*graftwork\[gpu\]"):
        WorkerProcess(backend="jax", gpus=0.5).check_devices()
    with pytest.raises(PermanentError, match="TensorFlow sees no GPU"):
        WorkerProcess(backend="tensorflow", gpus=1).check_devices()


def test_a_worker_that_was_promised_none_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that sees its GPU is content."""
    monkeypatch.setattr(worker_process, "gpu_capabilities", list)
    WorkerProcess(backend="jax").check_devices()
    monkeypatch.setattr(worker_process, "gpu_capabilities", lambda: [(9, 0)])
    WorkerProcess(backend="jax", gpus=1).check_devices()
