"""The data set of a run: every example with its label, split and content digest, and how that is stored.

Pure data plus one Parquet file; what stands in the file is decided by `graftwork_jobs.data.scan`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import PermanentError

_METADATA_KEY = b"graftwork"
_FORMAT_VERSION = 2
_DIGEST_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One part of the data, in a fixed order: a row number names an example.

    Attributes:
        name: `train`, `validation`, `test` or the name of a further test set.
        inputs: where each picture is, an absolute local path or a URI; or the texts themselves.
        labels: class numbers, shape (n,), int32.
        digests: SHA-256 of each picture's file or of the text, in hex.
    """

    name: str
    inputs: tuple[str, ...]
    labels: NDArray[np.int32]
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetIndex:
    """All examples of a run.

    Attributes:
        labels: class names; an example's label is a position in here.
        splits: by name: `train`, `validation`, `test`, then further test sets.
    """

    labels: tuple[str, ...]
    splits: dict[str, Split]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over class names, splits, labels and contents, in row order; not over where the files are."""
        state = hashlib.sha256(json.dumps([_DIGEST_VERSION, self.labels]).encode())
        for split in self.splits.values():
            state.update(json.dumps([split.name, len(split)]).encode())
            state.update(np.ascontiguousarray(split.labels, dtype="<i4").tobytes())
            state.update("".join(split.digests).encode())
        return state.hexdigest()

    def save(self, path: Path) -> None:
        """Write the index as one Parquet file; a reader sees all of it or nothing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        splits = self.splits.values()
        table = pa.table(
            {
                "split": pa.array([split.name for split in splits for _ in range(len(split))], pa.string()),
                "input": pa.array([each for split in splits for each in split.inputs], pa.large_string()),
                "label": pa.array([self.labels[label] for split in splits for label in split.labels], pa.string()),
                "digest": pa.array([digest for split in splits for digest in split.digests], pa.string()),
            }
        )
        facts = {"version": _FORMAT_VERSION, "labels": self.labels, "splits": list(self.splits)}
        table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(facts).encode()})
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            pq.write_table(table, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            PermanentError: the file is missing, damaged or of another format version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            facts = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise PermanentError(f"{path}: cannot be read as a data index ({error}). Plan the job again.") from error
        if facts["version"] != _FORMAT_VERSION:
            raise PermanentError(
                f"{path}: received data index version {facts['version']}, expected {_FORMAT_VERSION}. "
                "Plan the job again."
            )
        labels = tuple(facts["labels"])
        columns = {name: table.column(name).to_pylist() for name in ("split", "input", "label", "digest")}
        return cls(labels=labels, splits=_splits(labels, facts["splits"], columns))


def _splits(labels: tuple[str, ...], names: Sequence[str], columns: dict[str, list[str]]) -> dict[str, Split]:
    rows: dict[str, list[int]] = {name: [] for name in names}
    for row, name in enumerate(columns["split"]):
        rows[name].append(row)
    number = {label: position for position, label in enumerate(labels)}
    return {
        name: Split(
            name=name,
            inputs=tuple(columns["input"][row] for row in chosen),
            labels=np.array([number[columns["label"][row]] for row in chosen], dtype=np.int32),
            digests=tuple(columns["digest"][row] for row in chosen),
        )
        for name, chosen in rows.items()
    }
