"""Matrix products, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import HALVES, binary, cast, matmul, reduce, word_of
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.ir import Builder, Given, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.region import strides_of
from device_agent.engine.plan.transforms import expand, reshape, transpose


@lowers("mat_mul")
def _mat_mul(site: Site) -> Value:
    return matmul(site.b, site[0], site[1])


@lowers("gemm")
def _gemm(site: Site) -> Value:
    """One step in float32; else a product, scaled and added to."""
    b, x, y, c = site.b, site[0], site[1], site.maybe(2)
    alpha, beta = site.real("alpha"), site.real("beta")
    flags = [site.whole("transA"), site.whole("transB")]
    if len(x.shape) != 2 or len(y.shape) != 2:
        raise PlanError("gemm takes matrices")
    shape = (x.shape[flags[0]], y.shape[1 - flags[1]])
    if x.dtype == Dtype.FLOAT32:
        operands = [b.operand(x), b.operand(y)]
        if c is not None:
            operands.append(b.operand(c))
        words = [word_of(alpha), word_of(beta), *flags]
        return b.step("gemm", operands, [(x.dtype, shape)], words)[0]
    wide = Dtype.FLOAT32 if x.dtype in HALVES else x.dtype
    x, y = cast(b, x, wide), cast(b, y, wide)
    made = matmul(b, _turned(b, x, flags[0]), _turned(b, y, flags[1]))
    made = _scaled(b, made, alpha)
    if c is not None:
        made = binary(b, "add", made, _scaled(b, cast(b, c, wide), beta))
    return cast(b, made, site[0].dtype)


def _turned(b: Builder, x: Value, turn: int) -> Value:
    return transpose(b, x, (1, 0)) if turn else x


def _scaled(b: Builder, x: Value, factor: float) -> Value:
    if factor == 1:
        return x
    return binary(b, "multiply", x, factor if x.dtype in (1, 6) else int(factor))


# --- einsum ----------------------------------------------------------------------------------------------------------


@lowers("einsum")
def _einsum(site: Site) -> Value:
    """Operands are multiplied two by two, letters that nobody needs any more are summed: each pair is one matmul."""
    b, equation = site.b, site.text("equation").replace(" ", "")
    left, arrow, out = equation.partition("->")
    values = site.all
    terms = left.split(",")
    if len(terms) != len(values):
        raise PlanError(f"einsum of {len(values)} operands by '{equation}'")
    rank = max(
        (
            len(v.shape) - len(t.replace("...", ""))
            for t, v in zip(terms, values, strict=True)
            if "..." in t
        ),
        default=0,
    )
    letters = [_spelled(t, len(v.shape), rank) for t, v in zip(terms, values, strict=True)]
    if arrow:
        wanted = _spelled(out, len(out.replace("...", "")) + rank, rank)
    else:
        every = "".join(letters)
        named = sorted(c for c in set(every) if every.count(c) == 1 and not c.isdigit())
        wanted = "".join([str(i) for i in range(rank)]) + "".join(named)
    made, have = _diagonal(b, values[0], letters[0])
    for i, (value, term) in enumerate(zip(values[1:], letters[1:], strict=True), 2):
        other, term = _diagonal(b, value, term)
        later = set(wanted).union(*letters[i:])
        made, have = _contract(b, made, have, other, term, later)
    gone = [i for i, c in enumerate(have) if c not in wanted]
    made = reduce(b, "reduce_sum", made, gone, keep=False) if gone else made
    have = "".join(c for c in have if c in wanted)
    return transpose(b, made, [have.index(c) for c in wanted])


def _spelled(term: str, rank: int, ellipsis: int) -> str:
    """A term with a letter an axis; those of an ellipsis are digits, the last of them the last."""
    if "..." not in term:
        if len(term) != rank:
            raise PlanError(f"einsum term '{term}' for {rank} axes")
        return term
    count = rank - len(term) + 3
    digits = "".join(str(ellipsis - count + i) for i in range(count))
    return term.replace("...", digits)


def _diagonal(b: Builder, x: Value, term: str) -> tuple[Value, str]:
    """A letter that stands twice: only where both indices are the same. One region."""
    kept = "".join(dict.fromkeys(term))
    if kept == term:
        return x, term
    strides = strides_of(x.shape)
    shape = tuple(x.shape[term.index(c)] for c in kept)
    axes = [
        (n, sum(s for s, other in zip(strides, term, strict=True) if other == c), out)
        for c, n, out in zip(kept, shape, strides_of(shape), strict=True)
    ]
    given: list[Given] = [(x, 0, 0, axes)]
    return b.move(x.dtype, shape, given), kept


def _contract(
    b: Builder, x: Value, xs: str, y: Value, ys: str, later: set[str]
) -> tuple[Value, str]:
    """Both as (batch, rows, inner) and (batch, inner, columns); what is summed is the inner."""
    x, xs = _summed(b, x, xs, later | set(ys))
    y, ys = _summed(b, y, ys, later | set(xs))
    both = [c for c in xs if c in ys]
    sizes = dict(zip(ys, y.shape, strict=True)) | {
        c: n for c, n in zip(xs, x.shape, strict=True) if n != 1 or c not in ys
    }
    x, y = _grown(b, x, xs, both, sizes), _grown(b, y, ys, both, sizes)
    batch = [c for c in both if c in later]
    inner = [c for c in both if c not in later]
    rows, columns = [c for c in xs if c not in ys], [c for c in ys if c not in xs]
    left = _arranged(b, x, xs, [batch, rows, inner], sizes)
    right = _arranged(b, y, ys, [batch, inner, columns], sizes)
    made = matmul_any(b, left, right)
    order = "".join((*batch, *rows, *columns))
    return reshape(b, made, [sizes[c] for c in order]), order


def _summed(b: Builder, x: Value, term: str, needed: set[str]) -> tuple[Value, str]:
    gone = [i for i, c in enumerate(term) if c not in needed]
    if not gone:
        return x, term
    return reduce(b, "reduce_sum", x, gone, keep=False), "".join(c for c in term if c in needed)


def _grown(b: Builder, x: Value, term: str, both: Sequence[str], sizes: dict[str, int]) -> Value:
    """Axes of size 1 that broadcast against the other operand's."""
    shape = [sizes[c] if c in both else n for c, n in zip(term, x.shape, strict=True)]
    return expand(b, x, shape)


def _arranged(
    b: Builder, x: Value, term: str, groups: Sequence[Sequence[str]], sizes: dict[str, int]
) -> Value:
    order = [c for group in groups for c in group]
    turned = transpose(b, x, [term.index(c) for c in order])
    return reshape(b, turned, [prod(sizes[c] for c in group) for group in groups])


def matmul_any(b: Builder, x: Value, y: Value) -> Value:
    """matmul of any dtype: what the core does not multiply is multiplied in a wider type."""
    wide = {
        Dtype.UINT8: Dtype.INT32,
        Dtype.INT8: Dtype.INT32,
        Dtype.INT16: Dtype.INT32,
        Dtype.UINT16: Dtype.INT32,
    }
    dtype = wide.get(Dtype(x.dtype), Dtype(x.dtype))
    return cast(b, matmul(b, cast(b, x, dtype), cast(b, y, dtype)), x.dtype)
