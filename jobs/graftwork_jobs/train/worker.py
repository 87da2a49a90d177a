"""What every Ray Train worker runs: the training recipe, from the data index to the predictions of the test sets.

All workers run this alike; only rank 0 writes. Whatever makes them take different turns would leave one waiting for the
others for ever, so every decision here follows from numbers that are the same on all of them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.text import TextSpec
from graftwork.progress import SilentReporter
from graftwork_jobs.data.batch_plan import BatchPlan
from graftwork_jobs.data.index import DatasetIndex, Split
from graftwork_jobs.data.input_batches import InputBatches, PictureBatches
from graftwork_jobs.data.mixing import mixing_of
from graftwork_jobs.data.pipeline import readable_data_errors
from graftwork_jobs.data.text_batches import TextBatches
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.keras_setup import gpu_capabilities
from graftwork_jobs.targets.choose import make_target
from graftwork_jobs.train.checkpointing import Checkpointing
from graftwork_jobs.train.feeds import input_eval_batches
from graftwork_jobs.train.host import Host, RayTrainHost
from graftwork_jobs.train.phase import train_phase
from graftwork_jobs.train.phase_parts import calibrate
from graftwork_jobs.train.request import TrainRequest, TrainResult
from graftwork_jobs.train.run_context import RunContext

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork_jobs.model.network import Network
    from graftwork_jobs.targets.base import Target
    from graftwork_jobs.train.checkpoint import Checkpoint, TrainState


def train_worker(request: TrainRequest) -> None:
    """Train, phase by phase, then predict the test sets and write the result.

    Raises:
        PermanentError: the loss became NaN, or the checkpoint or the data do not belong to the job.
    """
    run, state, timings = train_phases(
        request, RayTrainHost(backend=request.job.spec.training.backend, shared_storage=request.storage is not None)
    )
    began = time.perf_counter()
    with readable_data_errors():
        predictions = _predict(run)
    timings["predict_s"] = time.perf_counter() - began
    _finish(run, state, predictions, timings)


def train_phases(request: TrainRequest, host: Host) -> tuple[RunContext, TrainState, dict[str, float]]:
    """Train, phase by phase, from the latest checkpoint if there is one; no test set is touched.

    Args:
        request: what to train.
        host: what this worker runs in.

    Returns:
        The run, whose network has the final weights; how far it is; seconds by stage.

    Raises:
        PermanentError: the loss became NaN, or the checkpoint or the data do not belong to the job.
    """
    started = time.perf_counter()
    run = _set_up(request, host)
    checkpoint = _latest_checkpoint(host)
    state = _restore_position(run, checkpoint)
    if checkpoint is None and request.job.spec.backbone.weights == "none":
        with readable_data_errors():
            calibrate(run)
    timings = {"set_up_s": time.perf_counter() - started}

    for number in range(state.phase, len(request.job.spec.phases)):
        began = time.perf_counter()
        with readable_data_errors():
            state = train_phase(run, number, state, checkpoint)
        checkpoint = None
        timings[f"phase_{request.job.spec.phases[number].name}_s"] = time.perf_counter() - began
    return run, state, timings


def _set_up(request: TrainRequest, host: Host) -> RunContext:
    """Everything that stays the same over the phases."""
    import keras

    from graftwork_jobs.train.evaluate import Evaluator

    spec, collectives = request.job.spec, host.collectives
    keras.config.set_dtype_policy(_dtype_policy(spec.training.mixed_precision))
    index = DatasetIndex.from_bytes(request.driver_files.read(request.index_file))
    target = make_target(spec, index)
    plan = BatchPlan(
        batch_size=spec.training.batch_size,
        pieces=spec.training.gradient_accumulation,
        rank=collectives.rank,
        world=collectives.world,
    )
    network = _build_network(request, target.outputs, plan, collectives.in_step)
    # Same seed, same weights; but only the broadcast makes sure.
    collectives.broadcast(network.model.variables)
    run = RunContext(
        request=request,
        host=host,
        index=index,
        collectives=collectives,
        plan=plan,
        network=network,
        evaluator=Evaluator(network.model, target, collectives),
        target=target,
        row_weights=_row_weights(target, index.splits["train"], spec.training.class_weights),
        inputs=_inputs(request, index),
        checkpointing=Checkpointing(
            host, every_s=spec.scaling.checkpoint_every_seconds, writes=request.writes_checkpoints
        ),
    )
    run.tell("workers_started", workers=collectives.world)
    return run


def _row_weights(target: Target, train: Split, class_weights: str) -> NDArray[np.float32] | None:
    """How much each training example counts: by its class, by its column, or by the product of both."""
    by_class = target.row_weights(train.targets, class_weights)
    if by_class is None or train.weights is None:
        return train.weights if by_class is None else by_class
    product = by_class * train.weights
    return np.asarray(product / product.mean(), np.float32)


def _inputs(request: TrainRequest, index: DatasetIndex) -> InputBatches:
    from graftwork_jobs.model.augment import build_augmenter

    match request.input:
        case ImageSpec() as image:
            entries = request.job.spec.augment
            is_numbered = index.splits["train"].targets.dtype.kind == "i"
            return PictureBatches(
                image=image,
                augment=build_augmenter(entries),
                changes=tuple(entry.model_dump_json(exclude_none=True) for entry in entries),
                mixing=mixing_of(entries, classes=len(index.labels) if is_numbered else None),
                cache_dir=request.data_cache_dir,
            )
        case TextSpec() as text:
            return TextBatches(text=text)


def _build_network(request: TrainRequest, outputs: int, plan: BatchPlan, in_step: Collectives) -> Network:
    from graftwork_jobs.distributed.batch_norm import synchronise
    from graftwork_jobs.model.adapters import add_adapters
    from graftwork_jobs.model.depthwise import speed_up_depthwise
    from graftwork_jobs.model.for_input import backbone_trains_as_in_training, load_job_backbone
    from graftwork_jobs.model.fused_batch_norm import speed_up_batch_norm
    from graftwork_jobs.model.network import DropoutSlice, build_network

    spec = request.job.spec
    backbone, _ = load_job_backbone(
        spec, base_dir=request.base_dir, weights_dir=request.weights_dir, reporter=SilentReporter()
    )
    network = build_network(
        backbone,
        spec.head,
        outputs=outputs,
        seed=spec.training.seed,
        batch_norm_training=backbone_trains_as_in_training(spec),
        dropout_slice=DropoutSlice(rows=plan.micro_rows, offset=in_step.rank * plan.rows_per_rank),
    )
    lora = next((phase.lora for phase in spec.phases if phase.lora is not None), None)
    if lora is not None:
        add_adapters(network, lora, seed=spec.training.seed)
    synchronise(network.model, in_step)
    speed_up_batch_norm(network.model)
    speed_up_depthwise(network.model)
    return network


def _latest_checkpoint(host: Host) -> Checkpoint | None:
    from graftwork_jobs.train.checkpoint import read_checkpoint

    with host.latest_checkpoint() as folder:
        return None if folder is None else read_checkpoint(folder)


def _restore_position(run: RunContext, checkpoint: Checkpoint | None) -> TrainState:
    """Put the network where the checkpoint left it."""
    from graftwork_jobs.train.checkpoint import TrainState, assign

    if checkpoint is None:
        return TrainState()
    assign(run.network.model.variables, checkpoint.model)
    return checkpoint.state


def _predict(run: RunContext) -> dict[str, Path]:
    """Score every test set, and the validation data, on which something may be chosen later; rank 0 writes."""
    written: dict[str, Path] = {}
    averaging = run.request.job.spec.evaluation.test_time_augmentation
    for name, split in run.index.splits.items():
        if name == "train":
            continue
        # What is only reported beside the plain answers is not asked of the validation data.
        is_asked = averaging is not None and (averaging.serve or name != "validation")
        predictions = run.evaluator.predictions(
            input_eval_batches(split, run.inputs, run.plan),
            examples=len(split),
            pulse=run.pulse,
            mirror=averaging.flip if averaging is not None and is_asked else None,
        )
        plain, averaged = predictions[0], predictions.mean(axis=0)
        written[name] = _write_predictions(run, name, split, averaged if averaging and averaging.serve else plain)
        if averaging is not None and name != "validation":
            other, values = averaging.beside(name), plain if averaging.serve else averaged
            written[other] = _write_predictions(run, other, split, values)
    return written


def _write_predictions(run: RunContext, name: str, split: Split, predictions: NDArray[np.float32]) -> Path:
    file = run.request.predictions_dir / f"{name}.npz"
    if run.collectives.rank == 0:
        with run.files.replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, predictions=predictions, targets=split.targets, rows=np.arange(len(split)))
    return file


def _finish(run: RunContext, state: TrainState, predictions: dict[str, Path], timings: dict[str, float]) -> None:
    """Write the final weights and, last of all, the result."""
    if run.collectives.rank != 0:
        return
    request = run.request
    with run.files.replacing(request.weights_file) as temporary:
        run.network.model.save_weights(temporary)
    result = TrainResult(
        weights_file=request.weights_file,
        history=state.history,
        predictions=predictions,
        trained_phases=_trained_phases(request, state),
        timings=timings,
    )
    with run.files.replacing(request.result_file) as temporary:
        temporary.write_text(result.to_json())


def _trained_phases(request: TrainRequest, state: TrainState) -> tuple[dict[str, Any], ...]:
    phases = []
    for phase in request.job.spec.phases:
        records = [record for record in state.history if record["phase"] == phase.name]
        best = max(record["epoch"] for record in records if record["is_best"])
        phases.append(
            {
                "name": phase.name,
                "epochs": len(records),
                "best_epoch": best,
                "stopped_early": len(records) < phase.epochs,
            }
        )
    return tuple(phases)


def _dtype_policy(mixed_precision: str) -> str:
    if mixed_precision == "bfloat16":
        return "mixed_bfloat16"
    if mixed_precision == "auto":
        capabilities = gpu_capabilities()
        # NVIDIA GPUs compute in bfloat16 from compute capability 8.0 (Ampere) on.
        if capabilities and min(capabilities) >= (8, 0):
            return "mixed_bfloat16"
    return "float32"
