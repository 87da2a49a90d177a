"""What the training benchmarks share: a job on the example pictures, run on a given number of one-thread workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graftwork.preprocess.image import ImageSpec
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import FineTuneJob, Scaling
from graftwork_jobs.data.scan import scan_data
from graftwork_jobs.train.launch import TrainRequest, TrainResult, train
from graftwork_jobs.train.local_ray import start_local_ray

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "examples" / "emoji10"
LITE0 = REPOSITORY / "examples" / "efficientnet_lite0" / "efficientnet_lite0.keras"


def run_on(workers: int, spec: dict[str, Any], *, size: int, folder: Path) -> tuple[TrainRequest, TrainResult]:
    """Train a job from its start.

    Args:
        workers: each with one core and one thread.
        spec: backbone, head, phases, training.
        size: height and width of pictures.
        folder: where to work; a folder of its own for each call.
    """
    folder.mkdir(parents=True)
    job = FineTuneJob.model_validate(
        {
            "apiVersion": "graftwork.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "bench"},
            "spec": {
                "task": "image-classification",
                "input": {"imageSize": [size, size]},
                "data": {
                    "train": {"uri": str(DATA / "google-train")},
                    "test": {"uri": str(DATA / "google-test")},
                },
                "scaling": {"workers": workers, "cpusPerWorker": 1},
                **spec,
            },
        }
    )
    reporter = SilentReporter()
    seed = job.spec.training.seed
    scan = scan_data(job.spec.data, base_dir=folder, cache_dir=folder / "cache", seed=seed, reporter=reporter)
    scan.index.save(folder / "index.parquet")
    request = TrainRequest(
        job=job,
        base_dir=folder,
        run_dir=folder,
        index_file=folder / "index.parquet",
        input=ImageSpec(height=size, width=size),
        weights_dir=folder / "weights",
        data_cache_dir=folder / "cache",
        features_dir=folder / "features",
        run_name=f"bench-{workers}",
    )
    with start_local_ray(Scaling(workers=workers), log_dir=folder / "logs", reporter=reporter):
        return request, train(request, reporter)
