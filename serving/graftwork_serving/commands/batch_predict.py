"""`graft batch-predict`: answer all of a folder or table at once, without an endpoint."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from graftwork.cli.console import make_reporter, print_json, print_table
from graftwork.cli.options import Output, output_option

if TYPE_CHECKING:
    from graftwork_serving.batch.predict_all import BatchOutcome

_SHOWN = 20


@click.command("batch-predict")
@click.argument("model")
@click.argument("data")
@click.argument("result")
@click.option("--column", help="Of a table: the one with the texts, or the pictures' paths. [default: text or path]")
@click.option("--scores", is_flag=True, help="Write the score of every label, too.")
@click.option("--overwrite", is_flag=True, help="Replace RESULT if there is one.")
@click.option("--restart", is_flag=True, help="Start over, whatever a try that was cut off has answered.")
@output_option
def command(
    model: str,
    data: str,
    result: str,
    column: str | None,
    scores: bool,  # noqa: FBT001 (click passes flags by name)
    overwrite: bool,  # noqa: FBT001
    restart: bool,  # noqa: FBT001
    output: Output,
) -> None:
    """Answer all of DATA with MODEL and write RESULT, a table.

    MODEL is NAME@ALIAS or NAME/VERSION in the registry, or a bundle's directory. DATA is a folder of pictures, or a
    table (.csv, .jsonl, .parquet) with a column of texts or of pictures' paths; local or a URI. RESULT ends in .csv,
    .jsonl or .parquet, is on this machine and has the columns of DATA beside the answers. Cut off, the same command
    goes on after the answers it has, which RESULT.unfinished keeps.
    """
    from graftwork.interrupts import sigterm_as_interrupt
    from graftwork.settings import load_settings
    from graftwork_serving.batch.predict_all import BatchRequest, predict_all

    reporter = make_reporter(output)
    request = BatchRequest(
        model=model,
        data=data,
        result=result,
        column=column,
        with_scores=scores,
        overwrite=overwrite,
        restart=restart,
    )
    with sigterm_as_interrupt():
        outcome = predict_all(request, settings=load_settings(), reporter=reporter)
    if output == "json":
        print_json(asdict(outcome))
        return
    _print_counts(outcome)
    failed = f"; {outcome.failed} could not be used, see the column error" if outcome.failed else ""
    reporter.say(f"{outcome.model} version {outcome.version} answered {outcome.examples - outcome.failed:,}{failed}.")
    reporter.say(f"Written: {outcome.result}")


def _print_counts(outcome: BatchOutcome) -> None:
    if not outcome.counts:
        return
    shown = list(outcome.counts.items())
    rows = [(label, f"{count:,}") for label, count in shown[:_SHOWN]]
    if len(shown) > _SHOWN:
        rows.append((f"{len(shown) - _SHOWN} other labels", f"{sum(count for _, count in shown[_SHOWN:]):,}"))
    print_table(("LABEL", "EXAMPLES"), rows)
