"""The 1,797 handwritten digits of scikit-learn, split once and for all.

Rules of this module:

- The file is read as it lies in the wheel: importing scikit-learn for it would take longer than everything else here.
- A digit is 64 pixel bytes, 0 (paper) to 16 (ink), row by row: what an event carries.
- The three folds come from one permutation with a fixed seed. Training sees the first, thresholds are fixed on the
  second, and what is printed is measured on the third.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

SIDE = 8
PIXELS = SIDE * SIDE
INK_MAX = 16
SPLIT_SEED = 2022
TRAIN_COUNT = 1077
VALIDATION_COUNT = 360

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Digits and what they are: pixels (n, 64), labels (n,)."""

    pixels: Pixels
    labels: Labels

    def payloads(self) -> list[bytes]:
        """Each digit as the bytes that an event carries."""
        return [row.tobytes() for row in self.pixels]


def _fold(start: int, stop: int | None) -> Fold:
    rows = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(rows))[start:stop]
    return Fold(pixels=rows[order, :PIXELS], labels=rows[order, PIXELS].astype(np.int64))


def _file() -> Path:
    """A line a digit: its pixels, then what it is."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the digits lie in scikit-learn's wheel: install scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def train_fold() -> Fold:
    """What models are trained on."""
    return _fold(0, TRAIN_COUNT)


def validation_fold() -> Fold:
    """What choices are made on: thresholds, and whether a version is better."""
    return _fold(TRAIN_COUNT, TRAIN_COUNT + VALIDATION_COUNT)


def held_out_fold() -> Fold:
    """The test fold: what is reported, and nothing was chosen on."""
    return _fold(TRAIN_COUNT + VALIDATION_COUNT, None)
