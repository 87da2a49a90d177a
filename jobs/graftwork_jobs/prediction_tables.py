"""Every prediction of the test sets beside what is right, as tables for people and their notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.bundle.answers import answers_for
from graftwork.data_files.table_writer import writing_table
from graftwork.spec.tasks import INPUT_COLUMNS

if TYPE_CHECKING:
    from graftwork.data_files.table_writer import ColumnKind
    from graftwork.spec.tasks import InputKind
    from graftwork_jobs.assessment import Assessment
    from graftwork_jobs.data.index import Split


def write_predictions(
    folder: Path, splits: Mapping[str, Split], assessment: Assessment, *, what: InputKind
) -> dict[str, Path]:
    """Write a table for each test set: input, what is right, the answer and every score.

    Answers that only stand beside another test set's, such as those averaged over mirror images, have none.

    Args:
        folder: where they go; each is called after its test set.
        splits: the test sets are among them.
        assessment: of the network; its predictions are as the bundle gives them.
        what: pictures or texts.

    Returns:
        The table of each test set.
    """
    answers, target = answers_for(assessment.target.signature()), assessment.target
    given: dict[str, ColumnKind] = {INPUT_COLUMNS[what]: "text"}
    columns = given | target.truth_columns() | answers.columns(with_scores=True)
    files = {name: folder / f"{name}.csv" for name in assessment.predictions if name in splits}
    for name, file in files.items():
        split = splits[name]
        with writing_table(file, columns) as add:
            for source, truth, values in zip(split.inputs, split.targets, assessment.predictions[name], strict=True):
                add([source, *target.truth_cells(truth), *answers.cells(values, with_scores=True)])
    return files
