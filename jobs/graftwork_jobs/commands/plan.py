"""`graft plan`: say what a job will do, before it does anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graftwork.cli.console import console, format_bytes, format_duration, make_reporter, print_json, print_table
from graftwork.cli.options import Output, output_option
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.load import load_only, problems_placed

if TYPE_CHECKING:
    from graftwork_jobs.phase_plan import PhasePlan
    from graftwork_jobs.plan import Plan

_MOST_UNREADABLE_SHOWN = 20


@click.command("plan")
@click.argument("file", type=click.Path(path_type=Path))
@output_option
def command(file: Path, output: Output) -> None:
    """Resolve the backbone, scan the data and print what `graft run FILE` would do.

    Exit code 0: the job can run. 2: it cannot; every reason is printed.
    """
    from graftwork.settings import load_settings

    job, source = load_only(file, FineTuneJob)
    reporter = make_reporter(output)
    from graftwork_jobs.keras_setup import set_up_keras

    set_up_keras("tensorflow")
    from graftwork_jobs.plan import make_plan

    with problems_placed(source):
        planned = make_plan(job, base_dir=source.base_dir, settings=load_settings(), reporter=reporter)
    if output == "json":
        print_json(planned.plan.as_dict())
    else:
        print_plan(planned.plan)


def print_plan(plan: Plan) -> None:
    """Print a plan for people."""
    from graftwork_jobs.input_plan import words_for

    screen = console()
    screen.print(
        f"{plan.job}: {plan.task}, {len(plan.labels)} {plan.names_are}, {words_for(plan.image_size, plan.texts)}"
    )
    screen.print(
        f"backbone: {plan.backbone['source']}, weights {plan.backbone['weights'][:12]}, "
        f"preprocessing {plan.backbone['preprocessing']}; the head grows on {plan.backbone['head_grows_on']}"
    )
    print_table(
        ["class" if plan.counts["train"] else "", *plan.counts],
        [
            *(
                [label, *(counts.get(label, 0) for counts in plan.counts.values())]
                for label in plan.labels
                if plan.counts["train"]
            ),
            ["total", *plan.sizes.values()],
        ],
        title="Examples",
    )
    print_table(
        ["phase", "epochs", "unfreeze", "trains from", "trainable", "of", "steps/epoch", "learning rate", "estimate"],
        [
            [
                phase.name,
                phase.epochs,
                phase.unfreeze,
                phase.freeze_boundary or "head",
                f"{phase.trainable_parameters:,}",
                f"{phase.total_parameters:,}",
                phase.steps_per_epoch,
                f"{phase.learning_rate:g}",
                format_duration(phase.estimated_s),
            ]
            for phase in plan.phases
        ],
        title="Phases",
    )
    for phase in plan.phases:
        if phase.stages:
            print_table(
                ["from epoch", "epochs", "trains from", "trainable"],
                [
                    [
                        stage.first_epoch,
                        stage.epochs,
                        stage.freeze_boundary or "head",
                        f"{stage.trainable_parameters:,}",
                    ]
                    for stage in phase.stages
                ],
                title=f"Phase {phase.name}, block by block",
            )
        screen.print(features_line(phase))
    if plan.search is not None:
        known = (
            f" (the space holds no more; {plan.search.asked} asked)" if plan.search.trials < plan.search.asked else ""
        )
        print_table(
            ["field", "values"],
            [list(row) for row in plan.search.space.items()],
            title=f"Search: {plan.search.trials} trials{known}, {plan.search.concurrent} at a time",
        )
        budget = f", no trial begun after {plan.search.budget}" if plan.search.budget else ""
        screen.print(
            f"the best {plan.search.metric} wins (scheduler {plan.search.scheduler}{budget}) and is trained as the "
            f"job; about {format_duration(plan.search.estimated_s)} for the trials"
        )
    screen.print(
        f"{plan.workers} worker{'s' if plan.workers > 1 else ''}, {plan.batch_size} examples per weight update; about "
        f"{format_bytes(plan.memory_bytes_per_worker)} a worker, about {format_duration(plan.estimated_s)} in all"
    )
    screen.print(f"registers {plan.registers}")
    for uri, reason in plan.unreadable[:_MOST_UNREADABLE_SHOWN]:
        screen.print(f"left out: {uri}: {reason}")
    if len(plan.unreadable) > _MOST_UNREADABLE_SHOWN:
        screen.print(f"left out: {len(plan.unreadable) - _MOST_UNREADABLE_SHOWN} more")
    for warning in plan.warnings:
        screen.print(f"Warning: {warning}", style="yellow")


def features_line(phase: PhasePlan) -> str:
    """What a phase computes once and keeps, in one line."""
    plan = phase.features
    if plan is None:
        return f"{phase.name}: the frozen part is computed in every epoch: {phase.no_features}"
    views = f" for {plan.views} views of each training picture" if plan.views else ""
    gain = f"saves about {format_duration(plan.saved_s)}" if plan.saved_s > 0 else "saves nothing in this phase"
    size = format_bytes(plan.size_bytes)
    return f"{phase.name}: outputs of {plan.cut} are computed once{views} and kept: {size}, {gain}"
