"""Which examples a bundle's model has seen: they cannot tell how good it is, least of all beside another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.manifest import TRAINED_ON_FILE

if TYPE_CHECKING:
    from graftwork.bundle.directory import Bundle

# Of a SHA-256 in hex: 64 bits, by which a million examples are told from another million but for one chance in 10^7.
_DIGITS: Final = 16


def write_trained_on(directory: Path, digests: Sequence[str]) -> None:
    """Keep what a model was trained, and its epochs chosen, on.

    Args:
        directory: of the bundle.
        digests: SHA-256 of each example of training and validation data, in hex.
    """
    np.save(directory / TRAINED_ON_FILE, np.unique(_numbers(digests)), allow_pickle=False)


def seen_in_training(bundle: Bundle, digests: Sequence[str]) -> NDArray[np.bool_] | None:
    """Which of some examples the model has seen; None where the bundle does not tell (it was made before they did).

    Args:
        bundle: an opened bundle.
        digests: SHA-256 of each example, in hex.

    Returns:
        Shape (len(digests),).
    """
    file = bundle.path / TRAINED_ON_FILE
    if not file.is_file():
        return None
    return np.isin(_numbers(digests), np.load(file, allow_pickle=False))


def _numbers(digests: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(digest[:_DIGITS], 16) for digest in digests], np.uint64)
