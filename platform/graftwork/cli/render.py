"""`graft render`: print the Kubernetes objects that the operator makes of a spec file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from graftwork.cli.console import print_json
from graftwork.cli.options import Output, output_option


@click.command("render")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the objects.")
@output_option
def command(files: tuple[Path, ...], namespace: str, output: Output) -> None:
    """Print what the operator would make of the jobs and endpoints in FILES, as YAML.

    Nothing is asked of a cluster or a registry: aliases of models stay as they are written. Of a job with a schedule it
    prints the FineTuneJob of its next run.
    """
    import yaml

    from graftwork.controller.read_spec import check_for_cluster
    from graftwork.spec.load import load_specs, problems_placed

    objects = []
    for loaded in load_specs(files):
        with problems_placed(loaded):
            check_for_cluster(loaded.object)
        objects += _objects(loaded.object, namespace)
    if output == "json":
        print_json(objects)
        return
    click.echo(yaml.safe_dump_all(objects, sort_keys=False, width=120), nl=False)


def _objects(spec: Any, namespace: str) -> list[dict[str, Any]]:
    from graftwork.controller.decide_schedule import scheduled_run
    from graftwork.controller.endpoint_objects import EndpointRun, endpoint_objects
    from graftwork.controller.job_objects import JobRun, job_objects
    from graftwork.controller.pods import PodDefaults
    from graftwork.controller.read_spec import essential
    from graftwork.settings import load_operator_settings
    from graftwork.spec.fine_tune_job import FineTuneJob

    settings = load_operator_settings()
    defaults = PodDefaults(
        train_image=settings.train_image, serve_image=settings.serve_image, tracking_uri=settings.tracking_uri
    )
    where = spec.metadata.namespace or namespace
    if isinstance(spec, FineTuneJob) and spec.spec.schedule is not None:
        following = spec.spec.schedule.next_time(datetime.now(UTC))
        return [] if following is None else [scheduled_run(spec, following, namespace=where)]
    if isinstance(spec, FineTuneJob):
        return job_objects(JobRun(job=spec, uid="", content=essential(spec), namespace=where, defaults=defaults))
    return endpoint_objects(
        EndpointRun(endpoint=spec, uid="", content=essential(spec), namespace=where, defaults=defaults, resolved={})
    )
