"""The kernels' pool of threads: every piece once, a cancel flag seen between pieces, cores honoured."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from device_agent.engine import _core


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("pieces", [0, 1, 2, 1000])
def test_every_piece_runs_once(threads: int, pieces: int) -> None:
    finished, times, workers = _core.kernel_pool(threads, pieces)
    assert finished
    assert times == (1,) * pieces
    assert all(0 <= worker < threads for worker in workers)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_cancelled_round_begins_no_other_piece(threads: int) -> None:
    finished, times, _ = _core.kernel_pool(threads, 100_000, cancel_at=10)
    assert not finished
    assert set(times) == {0, 1}
    assert times[:11] == (1,) * 11
    # What had begun ends; another piece may begin before its thread sees the flag.
    assert sum(times) < 100_000


def test_a_flag_set_by_the_last_piece_comes_too_late() -> None:
    assert _core.kernel_pool(1, 5, cancel_at=4)[:2] == (True, (1,) * 5)


def test_a_pool_in_use_lets_the_caller_work_alone() -> None:
    assert _core.kernel_pool(3, 50, nested=7)[:2] == (True, (1,) * 50)


def test_many_rounds_at_once_in_pools_of_their_own() -> None:
    with ThreadPoolExecutor(4) as callers:
        for round_ in callers.map(lambda _: _core.kernel_pool(3, 200), range(40)):
            assert round_[:2] == (True, (1,) * 200)


def test_workers_stay_on_their_cores() -> None:
    core = min(os.sched_getaffinity(0))
    assert _core.kernel_pool(2, 10, cores=(core,))[:2] == (True, (1,) * 10)


@pytest.mark.parametrize("cores", [(1023,), (-1,), (5000,)])
def test_cores_that_are_not_there_are_refused(cores: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="core"):
        _core.kernel_pool(2, 10, cores=cores)


def test_too_many_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        _core.kernel_pool(65, 1)
