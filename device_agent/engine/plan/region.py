"""Region algebra: how transforms move elements, and how two moves become one (vertical merging).

Rules of this module:

- A region says `dst[doff + sum(i * d)] = origin[soff + sum(i * s)]` for 0 <= i < n on each axis (n, s, d); offsets and
  strides count elements. It is Walle's region (views with offset and strides, a size, the source tensor), with any
  number of axes while planning; `loops` gives the three that the raster kernel runs.
- Normal form: no axis of size 1, destination strides positive and falling, neighbours fused where both views allow.
- Values only: tuples of integers, so that a plan is made quickly in plain CPython and inside a VM.
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from device_agent.engine.settings import PLAN_LIMITS

type Axis = tuple[int, int, int]  # size, source stride, destination stride
type Axes = tuple[Axis, ...]
type Region = tuple[Any, int, int, Axes]  # origin, source offset, destination offset, axes

LOOPS = 3


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor, in elements."""
    out, step = [1] * len(shape), 1
    for i in range(len(shape) - 1, -1, -1):
        out[i] = step
        step *= shape[i]
    return tuple(out)


def normal(soff: int, doff: int, axes: Iterable[Axis]) -> tuple[int, int, Axes]:
    """Offsets and axes in normal form; an axis of size 0 must not be given."""
    kept = []
    for n, s, d in axes:
        if n == 1:
            continue
        if d < 0:
            soff, doff, s, d = soff + (n - 1) * s, doff + (n - 1) * d, -s, -d
        kept.append((n, s, d))
    if len(kept) < 2:
        return soff, doff, tuple(kept)
    kept.sort(key=_by_destination)
    fused = [kept[0]]
    for n, s, d in kept[1:]:
        m, upper_s, upper_d = fused[-1]
        if upper_s == s * n and upper_d == d * n:
            fused[-1] = (m * n, s, d)
        else:
            fused.append((n, s, d))
    return soff, doff, tuple(fused)


def _by_destination(axis: Axis) -> int:
    return -axis[2]


def elements(axes: Axes) -> int:
    """How many elements a region moves."""
    return prod(axis[0] for axis in axes)


def compose(outer: Region, inner: Region) -> list[Region] | None:
    """The regions that read inner's origin where `outer` reads what `inner` wrote; None when there is no such form.

    Walle's two rules in one. SRC_COPY: a plain copy only shifts the offset. REGION_COMPUTE: inner's destination strides
    are the digits of a mixed-radix number; outer's offset and strides are written in those digits, an axis that
    carries from one digit into the next is split, and what inner did not write is clipped away.
    """
    origin, si, di, digits = inner
    if len(digits) == 1 and digits[0][1] == 1 and digits[0][2] == 1:
        copied = _source_copy(outer, origin, si - di, di, di + digits[0][0])
        if copied is not None:
            return copied
    if not _nested(digits):
        return None
    if not digits or digits[-1][2] != 1:
        digits = (*digits, (1, 0, 1))
    soff, doff, axes = outer[1] - di, outer[2], list(outer[3])
    for i, (n, s, d) in enumerate(axes):
        if s < 0:
            soff, doff, axes[i] = soff + (n - 1) * s, doff + (n - 1) * d, (n, -s, -d)
    work: list[_Piece] = [(soff, doff, axes)]
    made: list[Region] = []
    for _ in range(PLAN_LIMITS.splits_max):
        if not work:
            return made
        piece = work.pop()
        pieces = _without_carry(*piece, digits)
        if pieces is None:
            return None
        if pieces:
            work.extend(pieces)
            continue
        clipped = _in_digits(*piece, digits)
        if clipped is None:
            return None
        for source, destination, kept in clipped:
            made.append((origin, *normal(source + si, destination, kept)))
    return None


def _source_copy(
    outer: Region, origin: object, shift: int, start: int, stop: int
) -> list[Region] | None:
    """SRC_COPY, when inner covers all that outer reads."""
    low = high = outer[1]
    for n, s, _ in outer[3]:
        if s < 0:
            low += (n - 1) * s
        else:
            high += (n - 1) * s
    if low < start or high >= stop:
        return None
    return [(origin, outer[1] + shift, outer[2], outer[3])]


def _nested(digits: Axes) -> bool:
    """Whether each address that a region writes has one set of digits."""
    below = 0
    for n, _, d in reversed(digits):
        if d <= below:
            return False
        below += (n - 1) * d
    return True


type _Piece = tuple[int, int, list[Axis]]


def _without_carry(soff: int, doff: int, axes: list[Axis], digits: Axes) -> list[_Piece] | None:
    """Nothing when no axis carries into the next digit; else the region in pieces; None when it cannot be cut."""
    for a in range(len(digits) - 1, 0, -1):
        period = digits[a - 1][2]
        used = soff % period
        movers = []
        for i, (n, s, _) in enumerate(axes):
            low = s % period
            if low and s >= period:
                return None  # a step in two digits at once, one of them not the highest
            if low:
                used += (n - 1) * low
                movers.append(i)
        if used < period:
            continue
        for i in movers:
            n, s, _ = axes[i]
            room = (period - 1 - (used - (n - 1) * s)) // s + 1
            if 0 < room < n:
                return _cut(soff, doff, axes, i, room, period)
        return None
    return []


def _cut(
    soff: int, doff: int, axes: list[Axis], i: int, room: int, period: int
) -> list[_Piece] | None:
    """Axis i leaves its digit after `room` steps: whole periods become an axis of their own, ends are peeled off."""
    n, s, d = axes[i]
    if period % s:
        return None
    steps = period // s
    before, after = axes[:i], axes[i + 1 :]
    if room == steps and n % steps == 0:
        return [(soff, doff, [*before, (n // steps, period, d * steps), (steps, s, d), *after])]
    first = n // steps * steps if room == steps else room
    head = (soff, doff, [*before, (first, s, d), *after])
    tail = (soff + first * s, doff + first * d, [*before, (n - first, s, d), *after])
    return [head, tail]


def _in_digits(
    soff: int, doff: int, axes: list[Axis], digits: Axes
) -> list[tuple[int, int, list[Axis]]] | None:
    """The region in terms of inner's source, clipped to what inner wrote; empty when that is nothing."""
    starts, stops = [0] * len(axes), [axis[0] - 1 for axis in axes]
    source, strides = 0, [0] * len(axes)
    rest, steps = soff, [axis[1] for axis in axes]
    for m, s1, d1 in digits:
        base, rest = divmod(rest, d1)
        top, mover, movers = base, -1, 0
        for i, step in enumerate(steps):
            if step >= d1:
                q, steps[i] = divmod(step, d1)
                top += q * (axes[i][0] - 1)
                strides[i] += q * s1
                mover, movers, ratio = i, movers + 1, q
        source += base * s1
        if base >= 0 and top < m:
            continue
        if base >= m or top < 0 or movers == 0:
            return []
        if movers > 1:
            return None
        starts[mover] = max(starts[mover], -(base // ratio))
        stops[mover] = min(stops[mover], (m - 1 - base) // ratio)
    kept = []
    for i, (_, _, d) in enumerate(axes):
        if starts[i] > stops[i]:
            return []
        source += starts[i] * strides[i]
        doff += starts[i] * d
        kept.append((stops[i] - starts[i] + 1, strides[i], d))
    return [(source, doff, kept)]


def merged(regions: Iterable[Region], filled: bool) -> tuple[list[Region], bool] | None:
    """Regions over virtual origins as regions over what those were made of.

    `filled`: elements that no region writes are meant to be the fill. Returns the regions and whether any origin had
    such elements too; None when one origin cannot be merged (the caller keeps the original regions for it).
    """
    out: list[Region] = []
    for region in regions:
        inner = region[0].regions
        total = 0
        for one in inner:
            made = compose(region, one)
            if made is None:
                return None
            total += sum(elements(piece[3]) for piece in made)
            out.extend(made)
        if total != elements(region[3]):
            if region[0].fill is None:
                return None  # pieces that overlap or are lost: never for regions that we make
            filled = True
        if len(out) > PLAN_LIMITS.regions_max:
            return None
    return out, filled


def loops(region: Region) -> list[Region]:
    """The region as regions of at most three axes: one for each index of the others.

    The three are the one that is innermost in the destination and the two largest.
    """
    origin, soff, doff, axes = region
    if len(axes) <= LOOPS:
        return [region]
    last = len(axes) - 1
    largest = sorted(range(last), key=lambda i: -axes[i][0])[: LOOPS - 1]
    inner = tuple(axes[i] for i in sorted((*largest, last)))
    places = [(soff, doff)]
    for i, (n, s, d) in enumerate(axes):
        if i != last and i not in largest:
            places = [(at + k * s, to + k * d) for at, to in places for k in range(n)]
    return [(origin, at, to, inner) for at, to in places]
