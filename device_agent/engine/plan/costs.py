"""What each algorithm of a convolution or a matrix product costs, from shapes alone.

Rules of this module:

- It is the table of the algorithms that the core has (native/kernels/convolution.h, matmul.h): a choice that it offers
  can be run, and has the block parameters that the core will use.
- Q of an algorithm is counted, not guessed: floating-point operations as the register tiles do them (edges, latency
  and loads included), bytes that move within the second-level cache, bytes from behind it, and calls of a tile.
- seconds = operations / P + near bytes / B1 + far bytes / B2 + calls * S, with P, B1, B2 and S measured once per
  machine (`Machine`). This is Walle's C = Q / P + S with Q split by where it is spent.
- Standard library only; nothing here touches the core.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from operator import mul

FLOAT_BYTES = 4
PASS_BYTES = 96 * 1024  # of packed weights in a pass of k, as in the core
WINOGRAD_ROOM_BYTES = 1024 * 1024  # of transformed parts and products, as in the core
IM2COL_PASS_FLOATS = 8 * 1024  # of patches in a pass of k, as in the core
WINOGRAD_SIDE_MAX = 8
STRASSEN_MIN = 512  # of all three sizes: smaller products gain nothing
STRASSEN_PRODUCTS = 7
# Quarters that its sums read and write, each as if twice: sums alone run at half the speed of what streams into tiles.
STRASSEN_LEFT_PASSES = 24  # of A: four sums, two read and one written each
STRASSEN_RESULT_PASSES = 34  # of C: sums, what is added to, and the ending
PLANAR_CHANNELS_MAX = 4  # a first layer; more channels are cheaper in blocks

# What else costs a part of what a call of a tile does; fitted together with P, B1, B2 and S.
RUN_CALLS = 0.04  # a run of neighbouring floats within a tile
BLOCK_CALLS = 0.01  # the same of a block of channels, where a run is nothing else
TRANSFORM_CALLS = 0.2  # a Winograd transform of one part of one block
SPILLED_FLOPS = (
    1.3  # an operation of a transform of side 8, whose 64 vectors no register file holds
)
PATCH_CALLS = 2.0  # a line of im2col's patches

# What is worth a trial: choices that the model thinks this much slower than its first at most, and so many.
TRIED_NEAR = 1.5
TRIED_MAX = 4

FIT_SWEEPS = 300
LEAST_COST_S = 1e-15  # of an operation or a byte: what a fit calls free is given this


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What one level of kernels is on this machine.

    Attributes:
        lanes: Floats of a vector, and channels of a block.
        vectors: Vectors of columns that a register tile is best with.
        rows: Rows of a tile at most, by vectors; the first is for none.
        flops_per_s: Floating-point operations a second of one core, multiplying and adding only.
        near_bytes_per_s: Bytes a second from the second-level cache, one core.
        far_bytes_per_s: Bytes a second from behind it, one core.
        call_s: Seconds that a register tile costs beside its operations.
        cache_bytes: Of a core's second-level cache.
    """

    lanes: int
    vectors: int
    rows: tuple[int, ...]
    flops_per_s: float
    near_bytes_per_s: float
    far_bytes_per_s: float
    call_s: float
    cache_bytes: int = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionShape:
    """A convolution's sizes; pads are those before, those behind follow from the output's size."""

    batch: int = 1
    groups: int = 1
    in_channels: int
    in_height: int
    in_width: int
    out_channels: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_height: int = 1
    stride_width: int = 1
    dilation_height: int = 1
    dilation_width: int = 1
    pad_top: int = 0
    pad_left: int = 0

    @classmethod
    def of(
        cls,
        words: Sequence[int],
        given: Sequence[int],
        weights: Sequence[int],
        made: Sequence[int],
    ) -> "ConvolutionShape":
        """Of the atom's attributes and the shapes of its pictures (N, C, H, W), weights and results."""
        groups, *windows = words
        (sh, dh, top, _), (sw, dw, left, _) = windows[:4], windows[4:]
        return cls(
            batch=given[0],
            groups=groups,
            in_channels=given[1],
            in_height=given[2],
            in_width=given[3],
            out_channels=weights[0],
            out_height=made[2],
            out_width=made[3],
            kernel_height=weights[2],
            kernel_width=weights[3],
            stride_height=sh,
            stride_width=sw,
            dilation_height=dh,
            dilation_width=dw,
            pad_top=top,
            pad_left=left,
        )

    @classmethod
    def square(
        cls, in_channels: int, out_channels: int, size: int, kernel: int, stride: int, groups: int
    ) -> "ConvolutionShape":
        """Of a square picture that keeps its size but for the stride."""
        out = (size - 1) // stride + 1
        return cls(
            groups=groups,
            in_channels=in_channels,
            in_height=size,
            in_width=size,
            out_channels=out_channels,
            out_height=out,
            out_width=out,
            kernel_height=kernel,
            kernel_width=kernel,
            stride_height=stride,
            stride_width=stride,
            pad_top=kernel // 2,
            pad_left=kernel // 2,
        )

    @property
    def taps(self) -> int:
        """Products a channel and result."""
        return self.kernel_height * self.kernel_width

    @property
    def read_height(self) -> int:
        """Rows of the padded input that are read."""
        return (
            (self.out_height - 1) * self.stride_height
            + self.dilation_height * (self.kernel_height - 1)
            + 1
        )

    @property
    def read_width(self) -> int:
        """Columns of the padded input that are read."""
        return (
            (self.out_width - 1) * self.stride_width
            + self.dilation_width * (self.kernel_width - 1)
            + 1
        )

    @property
    def touches(self) -> bool:
        """Whether every window reads the picture: the kernels take none that lies in the padding alone."""
        down = self.dilation_height * (self.kernel_height - 1) + 1
        across = self.dilation_width * (self.kernel_width - 1) + 1
        first = self.pad_top < down and self.pad_left < across
        last_row, last_column = self.read_height - down, self.read_width - across
        return (
            first
            and last_row < self.in_height + self.pad_top
            and last_column < self.in_width + self.pad_left
        )

    @property
    def pads(self) -> bool:
        """Whether zeros around the input are read."""
        before = self.pad_top > 0 or self.pad_left > 0
        return before or self.read_height > self.in_height or self.read_width > self.in_width


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What an algorithm does, counted.

    Attributes:
        flops: Floating-point operations, as a core at its peak would do them in the same time.
        near_bytes: Bytes through the second-level cache.
        far_bytes: Bytes from behind it.
        calls: Of a register tile or of a transform.
    """

    flops: float
    near_bytes: float
    far_bytes: float
    calls: float

    def seconds(self, machine: Machine, threads: int = 1) -> float:
        """How long it takes by the model; threads share all of it evenly but what comes from far."""
        own = self.flops / machine.flops_per_s
        own += self.near_bytes / machine.near_bytes_per_s + self.calls * machine.call_s
        return own / threads + self.far_bytes / machine.far_bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One algorithm with its block parameters.

    Attributes:
        algorithm: As `kernel_conv2d` names it, or `kernel_matmul`.
        unit: Winograd's outputs of a part on a side, Strassen's depth; 0 elsewhere.
        vectors: Vectors of columns of a register tile.
        rows: Rows of it.
        k_in_pass: How much of the reduction is done at once.
        blocked_in: Whether the input lies in blocks of channels.
        blocked_out: Whether the output does.
        quantity: What it does.
    """

    algorithm: str
    unit: int
    vectors: int
    rows: int
    k_in_pass: int
    blocked_in: bool
    blocked_out: bool
    quantity: Quantity


def typical(tiles: tuple[int, int, tuple[int, ...]], flops_per_s: float) -> Machine:
    """A machine of which only the peak is known; the rest is as it was where the model was made.

    Args:
        tiles: (lanes, vectors, rows by vectors) of a level, as the core's `kernel_tiles` says them.
        flops_per_s: As the core's `kernel_peak` measures it.
    """
    lanes, vectors, rows = tiles
    return Machine(
        lanes=lanes,
        vectors=vectors,
        rows=rows,
        flops_per_s=flops_per_s,
        near_bytes_per_s=2.0 * flops_per_s,
        far_bytes_per_s=0.4 * flops_per_s,
        call_s=4.5e3 / flops_per_s,
    )


def fitted(machine: Machine, samples: Sequence[tuple[Quantity, float]]) -> Machine:
    """The machine with the P, B1, B2 and S that explain measured seconds best, relative errors counted.

    Non-negative least squares by coordinate descent: four unknowns, some tens of samples, milliseconds. A cost that the
    samples say nothing of keeps its old value.
    """
    rows = [
        [part / seconds for part in (q.flops, q.near_bytes, q.far_bytes, q.calls)]
        for q, seconds in samples
    ]
    costs = [
        1 / machine.flops_per_s,
        1 / machine.near_bytes_per_s,
        1 / machine.far_bytes_per_s,
        machine.call_s,
    ]
    for _ in range(FIT_SWEEPS):
        for i in range(len(costs)):
            weight = sum(row[i] ** 2 for row in rows)
            if weight > 0:
                left = [1 - sum(map(mul, row, costs)) + row[i] * costs[i] for row in rows]
                costs[i] = max(
                    sum(row[i] * x for row, x in zip(rows, left, strict=True)) / weight, 0
                )
    flops, near, far, call = costs
    return replace(
        machine,
        flops_per_s=1 / max(flops, LEAST_COST_S),
        near_bytes_per_s=1 / max(near, LEAST_COST_S),
        far_bytes_per_s=1 / max(far, LEAST_COST_S),
        call_s=call,
    )


def fastest(choices: list[Choice], machine: Machine, threads: int = 1) -> Choice:
    """The choice that the model thinks fastest."""
    return min(choices, key=lambda choice: choice.quantity.seconds(machine, threads))


def near_first(rows: Sequence[tuple[float, Choice]]) -> list[Choice]:
    """The choices that are worth a trial, of rows of seconds by the model, the quickest first."""
    return [choice for seconds, choice in rows[:TRIED_MAX] if seconds <= TRIED_NEAR * rows[0][0]]


def tile_of(
    registers: int, lanes: int, memory_operand: bool, rows_max: int = 12
) -> tuple[int, int]:
    """Rows and vectors of the tile with the fewest memory accesses that fits the registers.

    The tile problem of Walle's compute container: with e rows and h columns of a result, a step of k reads e + h
    numbers for e * h products, under rows * vectors + vectors (+ 1 for the number of A) <= registers. Columns count as
    much as they take loads: one a vector.
    """
    fits = [
        (rows, vectors)
        for vectors in range(1, 5)
        for rows in range(1, rows_max + 1)
        if rows * vectors + vectors + (0 if memory_operand else 1) <= registers
    ]
    return min(fits, key=lambda tile: ((tile[0] + tile[1]) / (tile[0] * tile[1]), -tile[1] * lanes))


def matmul_choices(m: int, k: int, n: int, machine: Machine) -> list[Choice]:
    """The algorithms of C (m, n) = A (m, k) @ B (k, n) with B packed ahead."""
    packed = _packed(m, k, n, machine)
    halves = min(m, k, n) >= STRASSEN_MIN and k % 2 == n % 2 == 0
    return [packed, _strassen(m, k, n, machine)] if halves else [packed]


def _packed(m: int, k: int, n: int, machine: Machine) -> Choice:
    blocks = ceil(n / machine.lanes)
    vectors = _panel_vectors(blocks, machine)
    width = vectors * machine.lanes
    passes = ceil(k * width * FLOAT_BYTES / PASS_BYTES)
    tiles = _tiles(1, m, k, passes, blocks, machine)
    weights = blocks * machine.lanes * k * FLOAT_BYTES
    moved = weights + (m * k + m * n) * FLOAT_BYTES
    return Choice(
        algorithm="packed",
        unit=0,
        vectors=vectors,
        rows=machine.rows[vectors],
        k_in_pass=ceil(k / passes),
        blocked_in=False,
        blocked_out=False,
        quantity=_with_far(tiles, moved, machine),
    )


def _strassen(m: int, k: int, n: int, machine: Machine) -> Choice:
    """One level of it: seven products of quarters, and sums that pass over memory."""
    part = _packed(ceil(m / 2), k // 2, n // 2, machine)
    one = part.quantity
    sums = (STRASSEN_LEFT_PASSES * m * k + STRASSEN_RESULT_PASSES * m * n) / 4 * FLOAT_BYTES
    quantity = Quantity(
        flops=STRASSEN_PRODUCTS * one.flops,
        near_bytes=STRASSEN_PRODUCTS * one.near_bytes,
        far_bytes=STRASSEN_PRODUCTS * one.far_bytes + sums,
        calls=STRASSEN_PRODUCTS * one.calls,
    )
    return replace(part, algorithm="strassen", unit=1, quantity=quantity)


def convolution_choices(shape: ConvolutionShape, machine: Machine) -> list[Choice]:
    """Every algorithm that can do this convolution."""
    return [*_blocked(shape, machine), *_winograd(shape, machine), _im2col(shape, machine)]


def _panel_vectors(blocks: int, machine: Machine) -> int:
    """Vectors of the widest panel, when blocks are shared out evenly."""
    return ceil(blocks / ceil(blocks / machine.vectors))


def _k_flops(rows: int, vectors: int, lanes: int) -> float:
    """One step of k of a tile as operations at the peak: two products a cycle, two loads, four cycles of latency."""
    cycles = max(rows * vectors / 2, (rows + vectors) / 2, 4.0)
    return cycles * 4 * lanes


def _tiles(
    lines: float, columns: int, k: int, passes: int, blocks: int, machine: Machine
) -> Quantity:
    """All register tiles over `lines` lines of `columns` results, for `blocks` blocks of out-channels."""
    flops = near = calls = 0.0
    panels = ceil(blocks / machine.vectors)
    for panel in range(panels):
        vectors = (panel + 1) * blocks // panels - panel * blocks // panels
        parts = ceil(columns / machine.rows[vectors])
        rows = columns / parts
        tiles = lines * parts
        flops += tiles * k * _k_flops(ceil(rows), vectors, machine.lanes) * rows / ceil(rows)
        near += tiles * k * (vectors * machine.lanes + rows) * FLOAT_BYTES
        near += tiles * (2 * passes - 1) * rows * vectors * machine.lanes * FLOAT_BYTES
        calls += tiles * passes
    return Quantity(flops=flops, near_bytes=near, far_bytes=0.0, calls=calls)


def _with_far(
    quantity: Quantity, moved_bytes: float, machine: Machine, often: float = 1.0
) -> Quantity:
    """With what does not stay in the cache from one run to the next: all of it, or nothing."""
    far = moved_bytes * often if moved_bytes > machine.cache_bytes else 0.0
    return Quantity(
        flops=quantity.flops,
        near_bytes=quantity.near_bytes,
        far_bytes=quantity.far_bytes + far,
        calls=quantity.calls,
    )


def _blocked(shape: ConvolutionShape, machine: Machine) -> Iterator[Choice]:
    if shape.groups == shape.in_channels == shape.out_channels and shape.groups > 1:
        yield _depthwise(shape, machine)
        yield _depthwise_plain(shape, machine)
    inner, outer = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    whole = inner % machine.lanes == 0 and outer % machine.lanes == 0
    if shape.groups == 1 or whole:
        yield _direct(shape, machine, planar=False)
    if shape.groups == 1 and shape.in_channels <= PLANAR_CHANNELS_MAX:
        yield _direct(shape, machine, planar=True)


def _direct(shape: ConvolutionShape, machine: Machine, *, planar: bool) -> Choice:
    inner, outer = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    k, blocks = inner * shape.taps, ceil(outer / machine.lanes)
    vectors = _panel_vectors(blocks, machine)
    of_block = (1 if planar else machine.lanes) * shape.taps
    in_pass = max(1, PASS_BYTES // (of_block * vectors * machine.lanes * FLOAT_BYTES))
    passes = ceil((inner if planar else ceil(inner / machine.lanes)) / in_pass)
    in_line = shape.taps == shape.stride_height == shape.stride_width == 1 and not shape.pads
    columns = shape.out_height * shape.out_width if in_line else shape.out_width
    lines = 1 if in_line else shape.out_height
    one = _tiles(lines * shape.batch * shape.groups, columns, k, passes, blocks, machine)
    padded = inner if planar else ceil(inner / machine.lanes) * machine.lanes
    padded *= shape.groups * shape.batch * shape.read_height * shape.read_width * FLOAT_BYTES
    # Planar: a run is a kernel row of a channel; else the channels of a block under one kernel position.
    runs = inner * shape.kernel_height if planar else ceil(inner / machine.lanes) * shape.taps
    whole = shape.taps == 1 and inner % machine.lanes == 0
    of_run = BLOCK_CALLS if whole and not planar else RUN_CALLS
    quantity = Quantity(
        flops=one.flops,
        near_bytes=one.near_bytes + (2 * padded if shape.pads else 0),
        far_bytes=0.0,
        calls=one.calls + one.calls / passes * runs * of_run,
    )
    return Choice(
        algorithm="planar" if planar else "direct",
        unit=0,
        vectors=vectors,
        rows=machine.rows[vectors],
        k_in_pass=min(k, in_pass * of_block),
        blocked_in=not planar,
        blocked_out=True,
        quantity=_with_far(
            quantity, _moved(shape, machine, shape.groups * blocks * machine.lanes * k), machine
        ),
    )


def _moved(shape: ConvolutionShape, machine: Machine, weights: int) -> float:
    """Bytes of weights, input and output."""
    lanes = machine.lanes
    pictures = ceil(shape.in_channels / lanes) * shape.in_height * shape.in_width
    pictures += ceil(shape.out_channels / lanes) * shape.out_height * shape.out_width
    return (weights + shape.batch * pictures * lanes) * FLOAT_BYTES


def _depthwise(shape: ConvolutionShape, machine: Machine) -> Choice:
    lanes = machine.lanes
    blocks = ceil(shape.in_channels / lanes) * shape.batch
    results = blocks * shape.out_height * shape.out_width
    padded = blocks * shape.read_height * shape.read_width * lanes * FLOAT_BYTES
    quantity = Quantity(
        flops=results * shape.taps * 4.0 * lanes,  # a load for each product: half the peak
        near_bytes=(3 * padded if shape.pads else padded) + results * lanes * FLOAT_BYTES,
        far_bytes=0.0,
        calls=blocks * shape.out_height * ceil(shape.out_width / 14),
    )
    return Choice(
        algorithm="depthwise",
        unit=0,
        vectors=1,
        rows=min(14, shape.out_width),
        k_in_pass=shape.taps,
        blocked_in=True,
        blocked_out=True,
        quantity=_with_far(
            quantity, _moved(shape, machine, shape.in_channels * shape.taps), machine
        ),
    )


def _depthwise_plain(shape: ConvolutionShape, machine: Machine) -> Choice:
    lanes, channels = machine.lanes, shape.in_channels * shape.batch
    # A vector is that many neighbouring results of a row; steps above two are done one by one.
    a_row = ceil(shape.out_width / lanes) if shape.stride_width <= 2 else shape.out_width
    vectors = channels * shape.out_height * a_row
    padded = channels * shape.read_height * shape.read_width * FLOAT_BYTES
    results = channels * shape.out_height * shape.out_width * FLOAT_BYTES
    quantity = Quantity(
        # A load and a shuffle or an unaligned load for each product, in two sums: a quarter of the peak.
        flops=vectors * shape.taps * 8.0 * lanes * shape.stride_width,
        near_bytes=3 * padded + results,
        far_bytes=0.0,
        calls=channels * shape.out_height,
    )
    return Choice(
        algorithm="depthwise_plain",
        unit=0,
        vectors=1,
        rows=1,
        k_in_pass=shape.taps,
        blocked_in=False,
        blocked_out=False,
        quantity=_with_far(
            quantity, _moved(shape, machine, shape.in_channels * shape.taps), machine
        ),
    )


def _winograd(shape: ConvolutionShape, machine: Machine) -> Iterator[Choice]:
    plain = shape.groups == shape.stride_height == shape.stride_width == 1
    plain = plain and shape.dilation_height == shape.dilation_width == 1
    square = shape.kernel_height == shape.kernel_width
    if not plain or not square or shape.kernel_height not in (3, 5):
        return
    for unit in (2, 4, 6):
        if unit + shape.kernel_height - 1 <= WINOGRAD_SIDE_MAX:
            yield _winograd_of(shape, unit, machine)


def _winograd_of(shape: ConvolutionShape, unit: int, machine: Machine) -> Choice:
    lanes, side = machine.lanes, unit + shape.kernel_height - 1
    points = side * side
    parts = ceil(shape.out_height / unit) * ceil(shape.out_width / unit)
    in_blocks, out_blocks = ceil(shape.in_channels / lanes), ceil(shape.out_channels / lanes)
    vectors = _panel_vectors(out_blocks, machine)
    tile = machine.rows[vectors]
    of_part = (in_blocks + out_blocks) * lanes * points * FLOAT_BYTES
    at_once = min(parts, max(WINOGRAD_ROOM_BYTES // of_part // tile, 2) * tile)
    rounds = ceil(parts / at_once)
    products = _tiles(
        points * rounds, ceil(parts / rounds), shape.in_channels, 1, out_blocks, machine
    )
    # A line of a transform: half of side^2 products, by even and odd sums; side lines of columns, then side of rows.
    into = parts * in_blocks * (2 * side) * (side * side / 2) * 4 * lanes
    back = parts * out_blocks * (side + unit) * (side * unit / 2 + side) * 4 * lanes
    spilled = SPILLED_FLOPS if side == WINOGRAD_SIDE_MAX else 1.0
    weights = points * shape.in_channels * out_blocks * lanes
    moved = parts * (in_blocks + out_blocks) * points * lanes * FLOAT_BYTES
    quantity = Quantity(
        flops=shape.batch * (products.flops + (into + back) * spilled),
        near_bytes=shape.batch * (products.near_bytes + 2 * moved),
        far_bytes=0.0,
        calls=shape.batch * (products.calls + TRANSFORM_CALLS * parts * (in_blocks + out_blocks)),
    )
    # Weights stream once for each round of parts, and do not fit beside the parts when they take half of the cache.
    whole = _moved(shape, machine, 0)
    streamed = weights * FLOAT_BYTES * rounds * shape.batch
    far = streamed if weights * FLOAT_BYTES > machine.cache_bytes / 2 else 0.0
    far += whole if whole > machine.cache_bytes else 0.0
    return Choice(
        algorithm="winograd",
        unit=unit,
        vectors=vectors,
        rows=tile,
        k_in_pass=shape.in_channels,
        blocked_in=True,
        blocked_out=True,
        quantity=Quantity(
            flops=quantity.flops,
            near_bytes=quantity.near_bytes,
            far_bytes=far,
            calls=quantity.calls,
        ),
    )


def _im2col(shape: ConvolutionShape, machine: Machine) -> Choice:
    inner, outer = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    k, pixels = inner * shape.taps, shape.out_height * shape.out_width
    vectors = min(ceil(pixels / machine.lanes), machine.vectors)
    width = vectors * machine.lanes
    panels = ceil(pixels / width)
    # A 1 x 1 convolution reads the picture where it lies.
    in_place = shape.taps == shape.stride_height == shape.stride_width == 1 and not shape.pads
    depth = k if in_place else min(k, max(IM2COL_PASS_FLOATS // width, 1))
    passes = ceil(k / depth)
    repeats = shape.batch * shape.groups * panels
    parts = ceil(outer / machine.rows[vectors])
    rows = ceil(outer / parts)
    tiles = repeats * parts
    copied = 0 if in_place else repeats * k * width * FLOAT_BYTES
    quantity = Quantity(
        flops=tiles * k * _k_flops(rows, vectors, machine.lanes) * outer / (parts * rows),
        near_bytes=tiles * k * (width + rows) * FLOAT_BYTES
        + 2 * copied * (1 if shape.stride_width == 1 else 4)
        + tiles * (2 * passes - 1) * rows * width * FLOAT_BYTES,
        far_bytes=0.0,
        calls=tiles * passes + (0 if in_place else PATCH_CALLS * repeats * k),
    )
    return Choice(
        algorithm="im2col",
        unit=0,
        vectors=vectors,
        rows=machine.rows[vectors],
        k_in_pass=depth,
        blocked_in=False,
        blocked_out=False,
        quantity=_with_far(quantity, _moved(shape, machine, shape.out_channels * k), machine),
    )
