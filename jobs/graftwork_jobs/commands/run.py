"""`graft run`: train, test, pack and register a model."""

from __future__ import annotations

from pathlib import Path

import click

from graftwork.cli.console import make_reporter, print_json
from graftwork.cli.options import Output, output_option
from graftwork.interrupts import sigterm_as_interrupt
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork.spec.load import STDIN, load_only, problems_placed


@click.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--restart", is_flag=True, help="Start over, whatever earlier runs there are.")
@click.option("--force", is_flag=True, help="Train again although a run with the same inputs was trained to its end.")
@output_option
def command(file: Path, restart: bool, force: bool, output: Output) -> None:  # noqa: FBT001 (click passes flags by name)
    """Run the job in FILE, go on with its unfinished run, or answer from an earlier one.

    The job is planned first; what cannot work is refused before any worker starts. If a finished run had the same spec,
    data, backbone and library versions, nothing is trained: changed gates and registration are applied to its result.
    """
    from dataclasses import asdict

    from graftwork.settings import load_settings
    from graftwork_jobs.keras_setup import set_up_keras

    job, source = load_only(file, FineTuneJob)
    reporter = make_reporter(output)
    if job.spec.schedule is not None:
        reporter.warn("spec.schedule is for a cluster (graft submit); here the job runs once, at once.")
    # Planning, tests and bundles are TensorFlow's, whatever the workers train with.
    set_up_keras("tensorflow")
    from graftwork_jobs.run import run_job

    try:
        with sigterm_as_interrupt(), problems_placed(source):
            outcome = run_job(
                job,
                base_dir=source.base_dir,
                settings=load_settings(),
                reporter=reporter,
                restart=restart,
                force=force,
                written=None if str(file) == STDIN else file.read_text(),
            )
    except KeyboardInterrupt:
        click.echo(f"\nStopped; nothing is left running. Continue with: graft run {file}", err=True)
        raise
    if output == "json":
        print_json(asdict(outcome))
    else:
        for line in outcome.summary:
            reporter.say(line)
