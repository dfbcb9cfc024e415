"""Whether a device fits, and what it lacks in words."""

import pytest

from device_agent.tasks.manifest import Requires
from device_agent.tasks.requires import Capabilities, fits_version, missing

DEVICE = Capabilities(
    agent_version="0.1.2",
    guest_api=1,
    op_set=2,
    python_tag="cpython-313-3571",
    cpu_features=frozenset({"avx2"}),
)


def test_a_device_that_has_all_lacks_nothing() -> None:
    wanted = Requires(
        agent=">=0.1,<1", guest_api=1, op_set=1, python="cpython-313", cpu_features=("avx2",)
    )
    assert missing(wanted, DEVICE) == ()
    assert missing(Requires(), DEVICE) == ()


def test_everything_that_is_lacking_is_told() -> None:
    wanted = Requires(
        agent=">=2", guest_api=2, op_set=3, python="cpython-314", cpu_features=("avx512f", "avx2")
    )
    assert missing(wanted, DEVICE) == (
        "agent 0.1.2 is not >=2",
        "guest API 1 is older than 2",
        "op set 2 is older than 3",
        "Python cpython-313-3571 is not cpython-314",
        "CPU features avx512f are missing",
    )


@pytest.mark.parametrize(
    ("version", "comparisons", "fits"),
    [
        ("0.1", "", True),
        ("", "", True),
        ("", ">=0", False),
        ("unknown", ">=0", False),
        ("0.10", ">=0.9", True),
        ("1.0", "==1", True),
        ("1.0.1", "==1", False),
        ("2", ">=1,<2", False),
        ("1.9.9", ">=1,<2", True),
        ("1.2rc1", ">=1.2", True),
        ("1.0", "!=1", False),
        ("1.1", ">1,<=1.1", True),
        ("1", "~=1", False),
    ],
)
def test_versions_compare_as_numbers(version: str, comparisons: str, fits: bool) -> None:
    assert fits_version(version, comparisons) is fits
