"""What the example reports: shares with Wilson's interval, and what counts as whose answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.examples.digits.measure import (
    Reading,
    Share,
    collaborative,
    device_only,
    never_left,
    threshold_for,
)


def test_the_interval_of_a_known_case() -> None:
    low, high = Share(hits=80, total=100).interval
    assert (round(low, 4), round(high, 4)) == (0.7112, 0.8666)
    assert str(Share(hits=80, total=100)) == ("80.0% (80/100; 95 % interval 71.1% to 86.7%)")


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share_and_stays_inside(total: int, data: st.DataObject) -> None:
    share = Share(hits=data.draw(st.integers(0, total)), total=total)
    low, high = share.interval
    assert 0 <= low <= share.value <= high <= 1


def test_the_clouds_answer_counts_where_it_was_asked() -> None:
    readings = [
        Reading(truth=1, device=1),
        Reading(truth=2, device=3),
        Reading(truth=4, device=5, cloud=4),
        Reading(truth=6, device=6, cloud=7),
    ]
    assert device_only(readings) == Share(hits=2, total=4)
    assert collaborative(readings) == Share(hits=2, total=4)
    assert never_left(readings) == Share(hits=2, total=4)


def test_the_threshold_parts_the_share() -> None:
    confidences = [i / 100 for i in range(100)]
    threshold = threshold_for(confidences[::-1], 0.12)
    assert sum(c < threshold for c in confidences) == 12
    for bad in (([], 0.5), ([0.5], 0.0), ([0.5], 1.0)):
        with pytest.raises(ValueError, match="share"):
            threshold_for(*bad)
