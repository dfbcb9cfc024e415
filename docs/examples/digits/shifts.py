"""Digits moved, turned and stretched a little: what training adds to the 1,077 digits it has.

Rules of this module:

- Pure, and random only by the generator that is passed in.
- Pixels stay 0 to 16; what moves over the edge is lost, what comes in is paper.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from docs.examples.digits.dataset import INK_MAX, SIDE, Fold, Pixels

NEIGHBOURS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


def shifted(pixels: Pixels, down: int, right: int) -> Pixels:
    """Each digit of (n, 64) moved by whole pixels."""
    images = pixels.reshape(-1, SIDE, SIDE)
    out = np.zeros_like(images)
    rows = slice(max(down, 0), SIDE + min(down, 0))
    columns = slice(max(right, 0), SIDE + min(right, 0))
    from_rows = slice(max(-down, 0), SIDE + min(-down, 0))
    from_columns = slice(max(-right, 0), SIDE + min(-right, 0))
    out[:, rows, columns] = images[:, from_rows, from_columns]
    return out.reshape(-1, SIDE * SIDE)


def _warped(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    angle = np.deg2rad(rng.uniform(-12, 12))
    stretch = np.diag(rng.uniform(0.9, 1.1, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, rng.uniform(-0.12, 0.12)], [0.0, 1.0]])
    matrix = turn @ shear @ stretch
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - matrix @ (centre + rng.uniform(-0.7, 0.7, 2))
    return np.asarray(ndimage.affine_transform(image.astype(float), matrix, offset, order=1))


def warped(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Each digit of (n, 64) turned by up to 12 degrees, sheared, stretched and moved by less than a pixel."""
    images = [_warped(image, rng) for image in pixels.reshape(-1, SIDE, SIDE)]
    return np.clip(np.rint(images), 0, INK_MAX).astype(np.uint8).reshape(-1, SIDE * SIDE)


def augmented(fold: Fold, copies: int, seed: int) -> Fold:
    """The fold itself, and `copies` warped versions of it."""
    rng = np.random.default_rng(seed)
    parts = [fold.pixels, *(warped(fold.pixels, rng) for _ in range(copies))]
    return Fold(pixels=np.concatenate(parts), labels=np.tile(fold.labels, copies + 1))


def with_neighbours(fold: Fold) -> Fold:
    """The fold as it is, and moved by one pixel each way."""
    moved = [shifted(fold.pixels, *by) for by in NEIGHBOURS]
    return Fold(pixels=np.concatenate(moved), labels=np.tile(fold.labels, len(NEIGHBOURS)))
