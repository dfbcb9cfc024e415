"""One writer's digits: scikit-learn's digits as one hand might slant and set them.

The data set does not say who wrote a digit. So a writer is made: every digit is slanted, turned and moved by the same
amounts, which no digit that the released model was trained on is.
"""

import numpy as np
from scipy import ndimage

from docs.examples.digits.dataset import INK_MAX, PIXELS, SIDE, Fold, held_out_fold

SLANT = 0.15
TURN_DEGREES = 6.0
MOVE = (0.2, -0.3)


def as_written(fold: Fold) -> Fold:
    """The fold in the writer's hand."""
    angle = np.deg2rad(TURN_DEGREES)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1.0, 0.0], [SLANT, 1.0]])
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - matrix @ (centre + np.array(MOVE))
    images = [
        ndimage.affine_transform(image.astype(float), matrix, offset, order=1)
        for image in fold.pixels.reshape(-1, SIDE, SIDE)
    ]
    pixels = np.clip(np.rint(images), 0, INK_MAX).astype(np.uint8).reshape(-1, PIXELS)
    return Fold(pixels=pixels, labels=fold.labels)


def writer_folds() -> tuple[Fold, Fold]:
    """200 digits that the writer labels, and 160 others to measure on; the released model has seen none of them."""
    written = as_written(held_out_fold())
    first = Fold(pixels=written.pixels[:200], labels=written.labels[:200])
    return first, Fold(pixels=written.pixels[200:], labels=written.labels[200:])
