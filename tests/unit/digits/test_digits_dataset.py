"""The folds are scikit-learn's digits, each in one of them, with the labels that scikit-learn gives them."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from docs.examples.digits.dataset import SPLIT_SEED, held_out_fold, train_fold, validation_fold


@pytest.mark.slow
def test_the_folds_are_scikit_learns_digits() -> None:
    digits = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits.target))
    folds = [train_fold(), validation_fold(), held_out_fold()]
    assert np.array_equal(np.concatenate([fold.pixels for fold in folds]), digits.data[order])
    assert np.array_equal(np.concatenate([fold.labels for fold in folds]), digits.target[order])
    assert [len(fold.labels) for fold in folds] == [1077, 360, 360]
    assert all(len(payload) == 64 for payload in folds[2].payloads())
