"""Where time went: shares against a count by hand, and a picture that is well formed and to scale."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.simulation.flame import PAD, WIDTH, flame_svg, shares

STACKS = {
    ("main.py:3 on_event", "main.py:9 slow"): 6,
    ("main.py:4 on_event", "<json>:12 dumps", "main.py:9 slow"): 2,
    ("main.py:5 on_event",): 2,
}


def test_shares_are_of_functions_not_of_lines() -> None:
    found = {one.function: (one.self_share, one.total_share) for one in shares(STACKS, 10)}
    assert found == {
        "main.py slow": (0.8, 0.8),
        "main.py on_event": (0.2, 1.0),
        "<json> dumps": (0.0, 0.2),
    }
    assert [one.function for one in shares(STACKS, 1)] == ["main.py slow"]


def test_a_recursive_function_counts_once_a_sample() -> None:
    (only,) = shares({("a.py:1 f", "a.py:2 f", "a.py:2 f"): 5}, 3)
    assert (only.self_share, only.total_share) == (1.0, 1.0)


FRAMES = st.builds(
    lambda file, line, name: f"{file}:{line} {name}",
    st.sampled_from(["main.py", "<json>", 'a"<&>.py']),
    st.integers(1, 9),
    st.sampled_from(["f", "g", "Class.method", "<lambda>", "a&b"]),
)


@settings(deadline=None)
@given(st.dictionaries(st.lists(FRAMES, min_size=1, max_size=6).map(tuple), st.integers(1, 50)))
def test_the_picture_is_xml_to_scale_and_the_same_each_time(
    stacks: dict[tuple[str, ...], int],
) -> None:
    text = flame_svg(stacks, 'a "title" <&>')
    assert text == flame_svg(dict(reversed(stacks.items())), 'a "title" <&>')
    root = ET.fromstring(text)
    rows: dict[float, float] = {}
    for box in root.iter("{http://www.w3.org/2000/svg}rect"):
        y, width = float(box.get("y", "0")), float(box.get("width", "0"))
        if box.get("rx"):
            rows[y] = rows.get(y, 0.0) + width
            assert float(box.get("x", "0")) + width <= WIDTH - PAD + 0.2
    assert all(width <= WIDTH - 2 * PAD + 1 for width in rows.values())


def test_each_box_is_as_wide_as_its_share() -> None:
    text = flame_svg(STACKS, "t")
    found = re.search(r"main.py slow: 60.0 %.*?width=\"([\d.]+)\"", text)
    assert found is not None
    assert float(found[1]) == pytest.approx(0.6 * (WIDTH - 2 * PAD), abs=0.1)


def test_without_samples_it_says_so() -> None:
    assert "too short" in flame_svg({}, "t")
