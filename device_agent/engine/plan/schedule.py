"""Kernels for steps: packed products and convolutions with their endings, pictures in the layout that is quickest.

Rules of this module:

- Every step is what it was, or is replaced by kernels that make the same value; whoever reads a value finds it.
- A picture may lie *blocked* (channels in blocks of lanes), plain, or both: it is brought into the other layout when a
  step first needs that. Convolutions choose by the cost model (costs.py); pools, sums and functions of one number keep
  to the layout that their input has.
- Weights are packed by steps that depend on constants only: once a session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from operator import itemgetter

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import binary, word_of
from device_agent.engine.plan.attention import attention_from, scaled
from device_agent.engine.plan.costs import (
    FLOAT_BYTES,
    Choice,
    ConvolutionShape,
    convolution_choices,
    fastest,
    matmul_choices,
    near_first,
)
from device_agent.engine.plan.fuse import (
    Ending,
    Readers,
    channel_values,
    ending_of,
    is_float,
)
from device_agent.engine.plan.ir import Builder, Operand, Shape, Step, Value
from device_agent.engine.plan.layouts import Dims, Layouts, operand_of
from device_agent.engine.plan.matrices import batched, is_packed, is_read_in_place, sides, unwidened
from device_agent.engine.plan.normalisation import normalisation_from
from device_agent.engine.plan.region import strides_of
from device_agent.engine.plan.target import ALGORITHMS, KERNELS, Target
from device_agent.engine.plan.transforms import pad_with, reshape

_ALIKE_BINARY = frozenset({"add", "subtract", "multiply", "divide", "maximum", "minimum"})
_ALIKE_UNARY = frozenset({"relu", "clip", "sigmoid", "tanh", "exp", "negative", "absolute"})
_IN_BLOCKS = _ALIKE_BINARY | _ALIKE_UNARY | {"pool", "reduce_mean"}
_PACKED, _STRASSEN = ("product", "pack_right"), ("product_strassen", "pack_strassen")
_PICTURE_AXES = (3, 4)  # (N, C, W) is a picture of one line


def scheduled(
    b: Builder, steps: Sequence[Step], outputs: Sequence[Value], target: Target
) -> list[Step]:
    """The steps with kernels in place of what they do better."""
    return _Scheduler(b, steps, outputs, target).run()


class _Scheduler(Layouts):
    def __init__(
        self, b: Builder, steps: Sequence[Step], outputs: Sequence[Value], target: Target
    ) -> None:
        super().__init__(b, target.machine.lanes)
        self._steps = steps
        self._outputs = outputs
        self._target = target
        self._readers = Readers(steps, outputs)

    def run(self) -> list[Step]:
        kernels, gone = self._fused()
        for step in self._steps:
            if id(step) in kernels:
                kernels[id(step)]()
            elif id(step) not in gone and not self._in_blocks(step):
                for operand in step.operands:
                    self._need_plain(operand[0])
                self._made.append(step)
        for value in self._outputs:
            self._need_plain(value)
        return self._made

    def _fused(self) -> tuple[dict[int, Callable[[], None]], set[int]]:
        """What stands at the last part of each fusion, and the parts that it stands for."""
        kernels: dict[int, Callable[[], None]] = {}
        gone = self._readers.taken
        for step in self._steps:
            if id(step) in gone:
                continue
            found = self._kernel_of(step)
            if found is not None:
                ending, make = found
                gone.update(id(part) for part in ending.parts)
                kernels[id(ending.last)] = make
        return kernels, gone

    def _kernel_of(self, step: Step) -> tuple[Ending, Callable[[], None]] | None:
        if all(value.constant for value in step.outputs):
            return None
        if step.op == "quantized_matmul":
            return self._quantised(step)
        if step.op == "quantized_convolution":
            return self._convolve_quantised(step)
        if not is_float(step):
            return None
        if step.op == "convolution" and len(step.operands[0][2]) in _PICTURE_AXES:
            packs = step.operands[1][0].constant and step.outputs[0].size
            if packs and _convolution_shape(step).touches:
                channel_axis = len(step.operands[0][2]) - 1
                ending = ending_of(step, self._readers, channel_axis)
                return ending, lambda: self._convolve(step, ending)
        elif step.op in ("matmul", "gemm") and step.operands[1][0].constant:
            return self._product(step)
        elif step.op == "matmul":
            return self._attend(step) or self._multiply_each(step)
        elif step.op == "reduce_mean":
            return self._normalise(step)
        return None

    # --- where the input lies ----------------------------------------------------------------------------------------

    def _in_blocks(self, step: Step) -> bool:
        """Does a step where its input lies, when that is in blocks."""
        if step.op == "pool":
            return self._pool(step)
        if step.op == "reduce_mean":
            return self._mean(step)
        if step.op == "raster":
            return self._concat(step)
        if step.op in _ALIKE_UNARY or step.op in _ALIKE_BINARY:
            return self._alike(step)
        return False

    def _alike(self, step: Step) -> bool:
        """Element by element: any layout will do, if all have the same."""
        out = step.outputs[0]
        fits = len(out.shape) in _PICTURE_AXES and out.dtype == Dtype.FLOAT32
        if not fits or not is_float(step):
            return False
        dims = _dims_of(out.shape)
        operands: list[Operand] = []
        lies = False
        for operand in step.operands:
            if operand[2] == out.shape and self._held(operand, dims):
                lies = True
        if not lies:
            return False
        for operand in step.operands:
            found = self._alike_operand(operand, out)
            if found is None:
                return False
            operands.append(found)
        shape = self._blocks_of(dims)
        made = self._step(step.op, operands, [(out.dtype, shape)], step.attributes)[0]
        self._lies_blocked(out, made, dims)
        return True

    def _alike_operand(self, operand: Operand, out: Value) -> Operand | None:
        shape, dims = out.shape, _dims_of(out.shape)
        size = prod(operand[2])
        straight = operand[4] == strides_of(operand[2])
        if operand[2] == shape:
            held = self._held(operand, dims)
            turns = held is None and straight and self._wants_blocks(out)
            return self._as_blocked(operand, dims) if turns else held
        if size == 1:
            return operand
        gates = (*shape[:2], *(1 for _ in shape[2:]))  # a number a channel of each picture
        if operand[2] == gates and straight and not operand[0].constant:
            return self._as_blocked(operand, (dims[0], dims[1], 1, 1))
        a_channel = (shape[1], *(1 for _ in shape[2:]))
        channels = size == shape[1] and operand[2][-len(a_channel) :] == a_channel
        if not channels or not operand[0].constant:
            return None
        count = -(-dims[1] // self._lanes)

        def make() -> Value:
            value, offset, axes = channel_values(operand, dims[1])
            row = self._b.move(value.dtype, (dims[1],), [(value, offset, 0, axes)])
            padded = pad_with(self._b, row, [(0, count * self._lanes - dims[1])])
            spread = reshape(self._b, padded, (1, count, 1, 1, self._lanes))
            self._b.memory(spread)
            return spread

        return self._b.operand(self._constants(make))

    def _concat(self, step: Step) -> bool:
        """Whole pictures one after the other, of whole blocks: the same copies, of blocks."""
        words = step.attributes
        if words[0] or not step.operands or words[2] != len(step.operands):
            return False
        channels, first = 0, None
        blocked: list[Operand] = []
        for i, operand in enumerate(step.operands):
            region = words[3 + 12 * i : 15 + 12 * i]
            value = operand[0]
            held = self._blocked.get(id(value))
            if held is None or held[1][0] != 1 or held[1][1] % self._lanes:
                return False
            straight = region[0] == i and region[1] == 0 and region[4] == region[8] == 1
            if not straight or region[9:11] != [1, 1] or region[11] != value.size:
                return False
            first = first or held[1]
            if held[1][2:] != first[2:] or region[5] != channels * first[2] * first[3]:
                return False
            channels += held[1][1]
            blocked.append((held[0], held[0].dtype, (value.size,), 0, (1,)))
        assert first is not None
        out = step.outputs[0]
        if out.size != channels * first[2] * first[3]:
            return False
        dims: Dims = (1, channels, first[2], first[3])
        made = self._step("raster", blocked, [(out.dtype, (out.size,))], words)[0]
        self._lies_blocked(out, made, dims)
        return True

    def _pool(self, step: Step) -> bool:
        """Two axes, the largest or the mean."""
        kind, flags, _, *window = step.attributes
        operand = step.operands[0]
        if len(operand[2]) != 4 or kind > 1 or flags & 4 or operand[1] != Dtype.FLOAT32:
            return False
        n, c, h, w = operand[2]
        dims: Dims = (n, c, h, w)
        out = step.outputs[0]
        if not out.size or not operand[0].size:
            return False
        held = self._held(operand, dims)
        (kh, sh, dh, top, bottom, oh), (kw, sw, dw, left, right, ow) = window[:6], window[6:]
        words = [
            int(kind == 0), int(held is not None), flags & 1, n, c, h, w, oh, ow, kh, kw, sh, sw, dh, dw, top, left,
            bottom, right,
        ]  # fmt: skip
        self._pooled(operand, held, out, (n, c, oh, ow), words)
        return True

    def _mean(self, step: Step) -> bool:
        """The mean of whole pictures."""
        operand, out = step.operands[0], step.outputs[0]
        if len(operand[2]) != 4 or step.attributes[1:] != [2, 3] or not step.attributes[0]:
            return False
        n, c, h, w = operand[2]
        held = self._held(operand, (n, c, h, w))
        if held is None or not is_float(step):
            return False
        words = [0, 1, 0, n, c, h, w, 1, 1, h, w, 1, 1, 1, 1, 0, 0, 0, 0]
        self._pooled(operand, held, out, (n, c, 1, 1), words)
        return True

    def _pooled(
        self, operand: Operand, held: Operand | None, out: Value, dims: Dims, words: list[int]
    ) -> None:
        if held is None:
            step = Step("pool_picture", [self._as_plain(operand)], [out], words)
            out.step = step
            self._made.append(step)
            return
        shape = self._blocks_of(dims)
        made = self._step("pool_picture", [held], [(out.dtype, shape)], words)[0]
        self._lies_blocked(out, made, dims)

    # --- convolutions ------------------------------------------------------------------------------------------------

    def _convolve(self, step: Step, ending: Ending) -> None:
        x, w = map(_as_picture, step.operands[:2])
        shape = _convolution_shape(step)
        words, sizes, blocked_in, blocked_out = self._algorithm(shape, x, ending.out)
        packed = self._packed_convolution(step, ending, w, words, sizes[0])
        n, c, h, wide = x[2]
        operands = [
            self._as_blocked(x, (n, c, h, wide)) if blocked_in else self._as_plain(x),
            packed,
        ]
        self._convolved("convolve", operands, shape, ending, words, sizes[1], blocked=blocked_out)

    def _convolve_quantised(self, step: Step) -> tuple[Ending, Callable[[], None]] | None:
        """Weights of 8 bits, packed once; pictures in blocks on both sides."""
        x, w, scale = step.operands
        constant = w[0].constant and scale[0].constant and step.outputs[0].size
        if not constant or not _convolution_shape(step).touches:
            return None
        ending = ending_of(step, self._readers, channel_axis=3)
        shape = _convolution_shape(step)
        words = _convolution_words(shape)

        def make() -> None:
            packed, workspace = self._target.floats(KERNELS["convolve_int8"], words)
            filters = shape.out_channels
            scales = self._b.move(
                scale[1], (filters,), [(scale[0], scale[3], 0, ((filters, 1, 1),))]
            )
            given = [w, *self._constants_of(ending, scales, None, filters, (filters,))]
            made = self._step("pack_conv_int8", given, [(int(Dtype.FLOAT32), (packed,))], words)
            n, c, h, wide = x[2]
            operands = [self._as_blocked(x, (n, c, h, wide)), operand_of(made[0])]
            self._convolved(
                "convolve_int8", operands, shape, ending, words, workspace, blocked=True
            )

        return ending, make

    def _convolved(
        self, op: str, operands: list[Operand], shape: ConvolutionShape, ending: Ending, words: list[int],
        workspace: int, *, blocked: bool,
    ) -> None:  # fmt: skip
        """The kernel with its ending; what it makes lies where it makes it."""
        dims: Dims = (shape.batch, shape.out_channels, shape.out_height, shape.out_width)
        rest = ending.residual
        if rest is not None:
            operands.append(self._as_blocked(rest, dims) if blocked else self._as_plain(rest))
        ends = [ending.activation, ending.low, ending.high, int(rest is not None)]
        made = Value(Dtype.FLOAT32, self._blocks_of(dims)) if blocked else ending.out
        self._into(op, operands, made, [*words, *ends], workspace)
        if blocked:
            self._lies_blocked(ending.out, made, dims)

    def _algorithm(
        self, shape: ConvolutionShape, x: Operand, out: Value
    ) -> tuple[list[int], tuple[int, int], bool, bool]:
        """The quickest that the kernels have: its words, its floats, and where it reads and writes blocks."""
        machine, threads = self._target.machine, self._target.threads
        lies, wanted = self._lies(x), self._wants_blocks(out)

        def turn_s(choice: Choice) -> float:
            turned = 0 if choice.blocked_in in lies else prod(x[2])
            turned += 0 if choice.blocked_out == wanted else out.size
            return 2 * FLOAT_BYTES * turned / machine.near_bytes_per_s

        rows = []
        for choice in convolution_choices(shape, machine):
            words = _convolution_words(shape, choice)
            sizes = self._target.floats(KERNELS["convolve"], words)
            if sizes[0] >= 0:
                model_s = choice.quantity.seconds(machine, threads)
                rows.append((model_s + turn_s(choice), choice, words, sizes))
        rows.sort(key=itemgetter(0))
        near = near_first([(row[0], row[1]) for row in rows])
        if self._target.trial is not None and len(near) > 1:
            timed = [self._target.trial(shape, choice) for choice in near]
            if None not in timed:  # else the budget is spent, and the model decides
                tried = zip(timed, rows, strict=False)
                rows = [(seconds + turn_s(row[1]), *row[1:]) for seconds, row in tried if seconds]
        _, choice, words, sizes = min(rows, key=itemgetter(0))
        return words, sizes, choice.blocked_in, choice.blocked_out

    def _wants_blocks(self, value: Value) -> bool:
        """Whether what reads a picture next takes it in blocks."""
        for reader in self._readers.all(value) or ():
            if reader.op == "quantized_convolution":
                return True
            if reader.op == "convolution":
                return reader.operands[0][0] is not value or _takes_blocks(reader, self._lanes)
            joins = reader.op == "raster" and reader.attributes[2] == len(reader.operands) > 1
            if reader.op in _IN_BLOCKS or (joins and value.shape[1] % self._lanes == 0):
                return True
        return False

    def _lies(self, x: Operand) -> set[bool]:
        """How a picture lies already: in blocks (True), plain (False), or both."""
        n, c, h, w = x[2]
        value, dims = x[0], (n, c, h, w)
        blocked = self._held(x, dims) is not None or (id(value), x[3], dims) in self._moved
        plain = id(value) not in self._blocked or id(value) in self._plain
        return {layout for layout, there in ((True, blocked), (False, plain)) if there}

    def _packed_convolution(
        self, step: Step, ending: Ending, w: Operand, words: list[int], size: int
    ) -> Operand:
        filters = w[2][0]
        weights = self._b.move(w[1], w[2], [(w[0], w[3], 0, ((prod(w[2]), 1, 1),))])
        bias = None
        if len(step.operands) == 3:
            base, dtype, _, shift, _ = step.operands[2]
            bias = self._b.move(dtype, (filters,), [(base, shift, 0, ((filters, 1, 1),))])
        operands = self._constants_of(ending, weights, bias, filters, (filters, 1, 1, 1))
        outputs = [(int(Dtype.FLOAT32), (size,))]
        return operand_of(self._step("pack_convolution", operands, outputs, words)[0])

    def _constants_of(
        self, ending: Ending, weights: Value, bias: Value | None, channels: int, axes: Shape
    ) -> list[Operand]:
        """Weights with all scales, and the bias with all offsets: [weights], or [weights, bias]."""
        b = self._b
        before = len(b.steps)

        def row(operand: Operand) -> Value:
            value, offset, region = channel_values(operand, channels)
            return b.move(value.dtype, (channels,), [(value, offset, 0, region)])

        offsets = list(ending.offsets)
        for i in range(len(ending.factors) + 1):
            for at, operand in offsets:
                if at == i:
                    bias = row(operand) if bias is None else binary(b, "add", bias, row(operand))
            if i < len(ending.factors):
                factor = row(ending.factors[i])
                weights = binary(b, "multiply", weights, reshape(b, factor, axes))
                bias = None if bias is None else binary(b, "multiply", bias, factor)
        operands = [b.operand(weights)]
        if bias is not None:
            operands.append(b.operand(bias))
        self._made.extend(b.steps[before:])
        return operands

    # --- products ----------------------------------------------------------------------------------------------------

    def _product(self, step: Step) -> tuple[Ending, Callable[[], None]] | None:
        """A matrix by a constant one: packed, or where it lies when there are few rows."""
        found = sides(step)
        if found is None:
            return None
        left, right = found
        if is_packed(left, right):
            ending = ending_of(step, self._readers, channel_axis=1)
            return ending, lambda: self._multiply(step, left, right, ending)
        if is_read_in_place(left, right):
            ending = ending_of(step, self._readers, channel_axis=1, factors=False)
            return ending, lambda: self._multiply_rows(step, left, right, ending)
        return None

    def _bias_of(self, step: Step, n: int) -> Value | None:
        """What a gemm adds, a number a column."""
        if step.op != "gemm" or len(step.operands) < 3:
            return None
        base, dtype, shape, shift, _ = step.operands[2]
        axes = ((n, 1 if prod(shape) > 1 else 0, 1),)
        return self._b.move(dtype, (n,), [(base, shift, 0, axes)])

    def _multiply(self, step: Step, left: Operand, right: Operand, ending: Ending) -> None:
        (m, k), n = left[2], right[2][1]
        choice = fastest(
            matmul_choices(m, k, n, self._target.machine),
            self._target.machine,
            self._target.threads,
        )
        strassen = choice.algorithm == "strassen" and left[4][1] == 1
        op, pack = _STRASSEN if strassen else _PACKED
        packed, _ = self._target.floats(KERNELS[op], [m, n, k])
        rooms = [packed, (k // 2) * (n // 2)] if strassen else [packed]
        operands = self._packed_right(ending, right, self._bias_of(step, n), pack, rooms)
        self._multiplied(op, [self._as_plain(left), operands], (m, n, k), ending)

    def _quantised(self, step: Step) -> tuple[Ending, Callable[[], None]] | None:
        """Weights of 8 bits, packed once."""
        x, w, scale = step.operands
        if not (w[0].constant and scale[0].constant and step.outputs[0].size and w[2][0]):
            return None
        ending = ending_of(step, self._readers, channel_axis=1)
        k, n = w[2]

        def make() -> None:
            rows = (x[0], x[1], (prod(x[2]) // k, k), x[3], (k, 1))
            sizes = [rows[2][0], n, k]
            packed, _ = self._target.floats(KERNELS["product_int8"], sizes)
            scales = self._b.move(scale[1], (n,), [(scale[0], scale[3], 0, ((n, 1, 1),))])
            given = [w, *self._constants_of(ending, scales, None, n, (n,))]
            made = self._step("pack_int8", given, [(int(Dtype.FLOAT32), (packed,))], [k, n])
            operands = [self._as_plain(rows), operand_of(made[0])]
            self._multiplied("product_int8", operands, (rows[2][0], n, k), ending)

        return ending, make

    def _multiply_rows(self, step: Step, left: Operand, right: Operand, ending: Ending) -> None:
        (m, k), n = left[2], right[2][1]
        given = [self._as_plain(left), unwidened(right)]
        bias = self._bias_of(step, n)
        if bias is not None or ending.offsets:
            nothing = self._b.move(Dtype.FLOAT32, (1,), [(right[0], right[3], 0, ())])
            given.append(self._constants_of(ending, nothing, bias, n, (n,))[1])
        biased = int(len(given) == 3)
        self._multiplied("row_product", given, (m, n, k), ending, biased)

    def _multiplied(
        self, op: str, given: list[Operand], sizes: Shape, ending: Ending, *before: int
    ) -> None:
        _, workspace = self._target.floats(KERNELS[op], list(sizes))
        if ending.residual is not None:
            given.append(self._as_plain(ending.residual))
        ends = [ending.activation, ending.low, ending.high, int(ending.residual is not None)]
        self._into(op, given, ending.out, [*before, *sizes, *ends], workspace)

    def _packed_right(
        self, ending: Ending, right: Operand, bias: Value | None, pack: str, rooms: list[int]
    ) -> Operand:
        base, dtype, shape, shift, strides = right
        k, n = shape
        outputs = [(int(Dtype.FLOAT32), (size,)) for size in rooms]
        if not ending.factors and not ending.offsets and bias is None:
            return operand_of(self._step(pack, [right], outputs, [k, n])[0])
        axes = ((k, strides[0], n), (n, strides[1], 1))
        weights = self._b.move(dtype, (k, n), [(base, shift, 0, axes)])
        if not ending.factors:
            operands = self._constants_of(
                ending, self._b.move(dtype, (1,), [(base, shift, 0, ())]), bias, n, (n,)
            )
            return operand_of(self._step(pack, [right, operands[1]], outputs, [k, n])[0])
        operands = self._constants_of(ending, weights, bias, n, (1, n))
        return operand_of(self._step(pack, operands, outputs, [k, n])[0])

    def _attend(self, step: Step) -> tuple[Ending, Callable[[], None]] | None:
        """Scores, their softmax and what they weigh, without the scores in memory."""
        found = attention_from(step, self._readers)
        if found is None:
            return None
        m, k = found.queries[2][1:]
        words = [
            *found.heads,
            m,
            found.keys[2][2],
            k,
            found.values[2][2],
            word_of(found.scale),
            *found.steps,
        ]

        def make() -> None:
            _, workspace = self._target.floats(KERNELS["attention"], words)
            given = [found.queries, found.keys, found.values]
            given += [] if found.mask is None else [found.mask]
            given = [self._as_plain(operand) for operand in given]
            masked = int(found.mask is not None)
            self._into("attention", given, found.out, [*words, masked], workspace)

        return Ending(out=found.out, parts=list(found.parts)), make

    def _multiply_each(self, step: Step) -> tuple[Ending, Callable[[], None]] | None:
        """Both sides computed: many matrices at once; a scale behind it is taken along."""
        a, b = step.operands
        if len(a[2]) < 2 or a[2][:-2] != b[2][:-2]:
            return None
        left, right = batched(a), batched(b)
        if left is None or right is None or not step.outputs[0].size or not a[2][-1]:
            return None
        scale, parts = scaled(step, self._readers)
        out = parts[-1].outputs[0]

        def make() -> None:
            batch, m, k = left[2]
            words = [batch, m, right[2][2], k, word_of(scale)]
            _, workspace = self._target.floats(KERNELS["products"], words)
            given = [self._as_plain(left), self._as_plain(right)]
            self._into("products", given, out, words, workspace)

        return Ending(out=out, parts=parts), make

    def _normalise(self, step: Step) -> tuple[Ending, Callable[[], None]] | None:
        """A whole normalisation over the last axis in one pass."""
        found = normalisation_from(step, self._readers)
        if found is None:
            return None
        width = found.x[2][-1]
        words = [prod(found.x[2]) // width, width, word_of(found.epsilon)]

        def make() -> None:
            given = [self._as_plain(found.x), found.scale, found.shift]
            made = Step("normalize", given, [found.out], words)
            found.out.step = made
            self._made.append(made)

        return Ending(out=found.out, parts=list(found.parts)), make


def _dims_of(shape: Shape) -> Dims:
    """The four sizes of a picture of one or two axes."""
    n, c, *lines, w = shape
    return n, c, *(lines or [1]), w  # type: ignore[return-value]  # three or four sizes


def _as_picture(operand: Operand) -> Operand:
    """With four axes."""
    value, dtype, shape, shift, strides = operand
    if len(shape) == 4:
        return operand
    return (
        value,
        dtype,
        _dims_of(shape),
        shift,
        (*strides[:2], shape[2] * strides[2], strides[2]),
    )


def _convolution_words(shape: ConvolutionShape, choice: Choice | None = None) -> list[int]:
    """What kernels are told of a convolution; that of 8 bits has no choice."""
    algorithm = (0, 0) if choice is None else (ALGORITHMS.index(choice.algorithm), choice.unit)
    return [
        *algorithm, shape.batch, shape.groups, shape.in_channels,
        shape.in_height, shape.in_width, shape.out_channels, shape.out_height, shape.out_width,
        shape.kernel_height, shape.kernel_width, shape.stride_height, shape.stride_width,
        shape.dilation_height, shape.dilation_width, shape.pad_top, shape.pad_left,
    ]  # fmt: skip


def _convolution_shape(step: Step) -> ConvolutionShape:
    x, w = (_dims_of(operand[2]) for operand in step.operands[:2])
    groups, *windows = step.attributes
    line = [] if len(windows) == 8 else [1, 1, 0, 0]  # stride, dilation, pads
    made = _dims_of(step.outputs[0].shape)
    return ConvolutionShape.of([groups, *line, *windows], x, w, made)


def _takes_blocks(step: Step, lanes: int) -> bool:
    """Whether a convolution has an algorithm over blocks."""
    shape = _convolution_shape(step)
    inner, outer = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    return shape.groups == 1 or inner == outer == 1 or (inner % lanes == 0 and outer % lanes == 0)
