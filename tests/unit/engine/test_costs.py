"""The cost model: what it counts, which algorithms it offers, and how it is fitted to a machine."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.engine import _core
from device_agent.engine.plan.costs import (
    Choice,
    ConvolutionShape,
    Machine,
    Quantity,
    convolution_choices,
    fastest,
    fitted,
    matmul_choices,
    tile_of,
    typical,
)
from device_agent.engine.plan.target import ALGORITHMS
from tests.helpers.arrays import LEVELS, Level

MACHINE = Machine(
    lanes=16,
    vectors=4,
    rows=(0, 12, 12, 9, 7),
    flops_per_s=190e9,
    near_bytes_per_s=380e9,
    far_bytes_per_s=76e9,
    call_s=25e-9,
)


def square(channels: int, size: int, kernel: int, **rest: Any) -> ConvolutionShape:
    return ConvolutionShape(
        in_channels=channels,
        in_height=size,
        in_width=size,
        out_channels=channels,
        out_height=size,
        out_width=size,
        kernel_height=kernel,
        kernel_width=kernel,
        pad_top=kernel // 2,
        pad_left=kernel // 2,
        **rest,
    )


def named(choices: list[Choice], algorithm: str, unit: int = 0) -> Choice:
    (choice,) = (c for c in choices if c.algorithm == algorithm and c.unit == unit)
    return choice


def test_tiles_follow_from_registers() -> None:
    assert tile_of(32, 16, memory_operand=True) == (7, 4)  # AVX-512
    assert tile_of(32, 4, memory_operand=False) == (6, 4)  # NEON
    assert tile_of(16, 8, memory_operand=False) == (4, 3)  # AVX2


@pytest.mark.parametrize("level", LEVELS)
def test_the_core_says_its_tiles(level: Level) -> None:
    lanes, vectors, rows = _core.kernel_tiles(level)
    assert lanes in (4, 8, 16)
    assert rows[0] == 0
    assert list(rows[1:]) == sorted(rows[1:], reverse=True)
    assert 1 <= vectors < len(rows)


def test_a_direct_convolution_counts_its_products() -> None:
    direct = named(convolution_choices(square(64, 56, 3), MACHINE), "direct")
    assert direct.quantity.flops == 2 * 64 * 64 * 9 * 56 * 56  # tiles come out even
    assert (direct.vectors, direct.rows) == (4, 7)
    assert direct.blocked_in
    assert direct.blocked_out


def test_winograd_needs_fewer_operations_but_moves_more() -> None:
    choices = convolution_choices(square(128, 28, 3), MACHINE)
    direct, four = named(choices, "direct"), named(choices, "winograd", 4)
    assert four.quantity.flops < 0.5 * direct.quantity.flops
    assert four.quantity.near_bytes > direct.quantity.near_bytes / 4
    assert fastest(choices, MACHINE) is four


def test_weights_that_no_cache_holds_come_from_far() -> None:
    choices = convolution_choices(square(512, 7, 3), MACHINE)
    direct, four = named(choices, "direct"), named(choices, "winograd", 4)
    assert direct.quantity.far_bytes > 9 * 512 * 512 * 4
    assert four.quantity.far_bytes >= 36 * 512 * 512 * 4
    assert named(convolution_choices(square(32, 14, 3), MACHINE), "direct").quantity.far_bytes == 0


def test_groups_and_strides_leave_fewer_choices() -> None:
    def offered(**rest: Any) -> set[str]:
        return {c.algorithm for c in convolution_choices(square(48, 14, 3, **rest), MACHINE)}

    assert offered() == {"direct", "winograd", "im2col"}
    assert offered(groups=48) == {"depthwise", "depthwise_plain", "im2col"}
    assert offered(groups=3) == {"direct", "im2col"}  # 16 channels a group: a whole block
    assert offered(groups=4) == {"im2col"}
    assert offered(dilation_height=2) == {"direct", "im2col"}


@pytest.mark.parametrize("level", LEVELS)
@given(
    channels=st.sampled_from([3, 8, 16, 33, 48]),
    size=st.integers(5, 12),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    depthwise=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_what_is_offered_can_be_run(
    channels: int, size: int, kernel: int, stride: int, depthwise: bool, level: Level
) -> None:
    out = (size - 1) // stride + 1
    groups = channels if depthwise else 1
    shape = ConvolutionShape.square(channels, channels, size, kernel, stride, groups)
    machine = typical(_core.kernel_tiles(level), 1e11)
    x = _core.zeros((1, channels, size, size))
    weights = _core.zeros((channels, channels // groups, kernel, kernel))
    run: Any = _core.kernel_conv2d
    for choice in convolution_choices(shape, machine):
        made, _ = run(
            x,
            weights,
            strides=(stride, stride),
            pads=(kernel // 2,) * 4,
            groups=groups,
            algorithm=choice.algorithm,
            unit=max(choice.unit, 1),
            level=level,
        )
        assert made.shape == (1, channels, out, out)
        assert choice.algorithm in ALGORITHMS  # a plan can name it
        assert choice.quantity.seconds(machine) > 0


def test_products_count_edges() -> None:
    (even,) = matmul_choices(70, 768, 768, MACHINE)
    assert even.quantity.flops == 2 * 70 * 768 * 768
    (thin,) = matmul_choices(1, 768, 768, MACHINE)
    assert thin.quantity.flops > 2 * 768 * 768  # one row waits for its own sums
    assert thin.k_in_pass * thin.vectors * 16 * 4 <= 96 * 1024


def test_threads_share_what_is_near() -> None:
    quantity = Quantity(flops=190e9, near_bytes=0, far_bytes=76e9, calls=0)
    assert quantity.seconds(MACHINE) == pytest.approx(2)
    assert quantity.seconds(MACHINE, threads=2) == pytest.approx(1.5)


def test_a_fit_finds_the_machine_again() -> None:
    quantities = [
        c.quantity
        for channels in (16, 64, 256, 512)
        for size in (7, 14, 56)
        for kernel in (1, 3)
        for c in convolution_choices(square(channels, size, kernel), MACHINE)
    ]
    start = typical((16, 4, MACHINE.rows), 100e9)
    found = fitted(start, [(q, q.seconds(MACHINE)) for q in quantities])
    for q in quantities:
        assert q.seconds(found) == pytest.approx(q.seconds(MACHINE), rel=0.02)


def test_a_fit_without_samples_changes_nothing() -> None:
    found = fitted(MACHINE, [])
    assert found.flops_per_s == pytest.approx(MACHINE.flops_per_s)
    assert found.call_s == MACHINE.call_s
