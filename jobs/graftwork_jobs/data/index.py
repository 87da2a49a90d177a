"""The data set of a run: every example with its label, split and content digest, and how that is stored.

Pure data plus one Parquet file; what stands in the file is decided by `graftwork_jobs.data.scan`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import PermanentError
from graftwork.whole_file import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA_KEY = b"graftwork"
_FORMAT_VERSION = 3
# Digests are stored in bundles: they stay the same when only the file's format changes.
_DIGEST_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One part of the data, in a fixed order: a row number names an example.

    Attributes:
        name: `train`, `validation`, `test` or the name of a further test set.
        inputs: where each picture is, an absolute local path or a URI; or the texts themselves.
        targets: what is to be predicted: class or level numbers, shape (n,), int32; or numbers or 0/1 for each label,
            shape (n, names), float32.
        digests: SHA-256 of each picture's file or of the text, in hex.
        weights: how much each example counts in training, shape (n,), float32; None for 1 throughout.
        slices: values of the columns by which the test set is cut, by column. Not stored: only the driver, which has
            just read the tables, asks for them.
    """

    name: str
    inputs: tuple[str, ...]
    targets: NDArray[Any]
    digests: tuple[str, ...]
    weights: NDArray[np.float32] | None = None
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetIndex:
    """All examples of a run.

    Attributes:
        labels: names of classes, labels, levels or targets, in the order of the model's outputs.
        splits: by name: `train`, `validation`, `test`, then further test sets.
    """

    labels: tuple[str, ...]
    splits: dict[str, Split]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, splits, targets, weights and contents, in row order; not over where the files are."""
        state = hashlib.sha256(json.dumps([_DIGEST_VERSION, self.labels]).encode())
        for split in self.splits.values():
            state.update(json.dumps([split.name, len(split)]).encode())
            state.update(_little_endian(split.targets))
            if split.weights is not None:
                state.update(b"weights" + _little_endian(split.weights))
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
                "targets": _column([split.targets for split in splits]),
                "weights": _column([_weights_or_ones(split) for split in splits]),
                "digest": pa.array([digest for split in splits for digest in split.digests], pa.string()),
            }
        )
        facts = {
            "version": _FORMAT_VERSION,
            "labels": self.labels,
            "splits": list(self.splits),
            "weighted": [split.name for split in splits if split.weights is not None],
        }
        table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(facts).encode()})
        with replacing(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            PermanentError: the file is missing, damaged or of another format version.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PermanentError(f"{path}: cannot be read as a data index ({error}). Plan the job again.") from error
        return cls.from_bytes(content, shown=str(path))

    @classmethod
    def from_bytes(cls, content: bytes, *, shown: str = "data index") -> Self:
        """Read the content of a file that `save` wrote.

        Args:
            content: of the file.
            shown: what errors call it.

        Raises:
            PermanentError: it is damaged or of another format version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(pa.BufferReader(content))
            facts = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise PermanentError(f"{shown}: cannot be read as a data index ({error}). Plan the job again.") from error
        if facts["version"] != _FORMAT_VERSION:
            raise PermanentError(
                f"{shown}: received data index version {facts['version']}, expected {_FORMAT_VERSION}. "
                "Plan the job again."
            )
        labels = tuple(facts["labels"])
        columns = {name: table.column(name).to_pylist() for name in ("split", "input", "digest")}
        numbers = {name: _array(table.column(name)) for name in ("targets", "weights")}
        splits = _splits(facts["splits"], columns, numbers)
        weighted = set(facts["weighted"])
        return cls(
            labels=labels,
            splits={
                name: split if name in weighted else replace(split, weights=None) for name, split in splits.items()
            },
        )


def _little_endian(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()


def _weights_or_ones(split: Split) -> NDArray[np.float32]:
    return np.ones(len(split), np.float32) if split.weights is None else split.weights


def _column(parts: Sequence[NDArray[Any]]) -> pa.Array:
    """All splits' numbers below each other: rows of one number, or of a list of them."""
    import pyarrow as pa

    values = np.concatenate(parts)
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    import pyarrow as pa

    whole = column.combine_chunks()
    if not isinstance(whole, pa.FixedSizeListArray):
        return np.asarray(whole.to_numpy(zero_copy_only=False))
    return np.asarray(whole.flatten().to_numpy(zero_copy_only=False)).reshape(-1, whole.type.list_size)


def _splits(names: Sequence[str], columns: dict[str, list[str]], numbers: dict[str, NDArray[Any]]) -> dict[str, Split]:
    rows: dict[str, list[int]] = {name: [] for name in names}
    for row, name in enumerate(columns["split"]):
        rows[name].append(row)
    return {
        name: Split(
            name=name,
            inputs=tuple(columns["input"][row] for row in chosen),
            digests=tuple(columns["digest"][row] for row in chosen),
            targets=numbers["targets"][chosen],
            weights=numbers["weights"][chosen],
        )
        for name, chosen in rows.items()
    }
