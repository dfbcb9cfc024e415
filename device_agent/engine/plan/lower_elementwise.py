"""Operators that work element by element."""

from __future__ import annotations

import math

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import (
    HALVES,
    Term,
    asked,
    binary,
    cast,
    chain,
    clip,
    compare,
    invert,
    logical,
    scalar,
    unary,
    where,
)
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import expand, reinterpret

_UNARY = {
    "exp": "exp", "log": "logarithm", "sin": "sine", "cos": "cosine", "tan": "tangent", "asin": "arc_sine",
    "acos": "arc_cosine", "atan": "arc_tangent", "sinh": "hyperbolic_sine", "cosh": "hyperbolic_cosine",
    "tanh": "tanh", "asinh": "area_sine", "acosh": "area_cosine", "atanh": "area_tangent", "erf": "error_function",
    "sqrt": "sqrt", "sigmoid": "sigmoid", "sign": "sign", "bitwise_not": "bit_not", "floor": "floor", "ceil": "ceil",
    "round": "round", "neg": "negative", "relu": "relu",
}  # fmt: skip
_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "bitwise_and": "bit_and",
    "bitwise_or": "bit_or", "bitwise_xor": "bit_xor",
}  # fmt: skip


@lowers(*_UNARY)
def _unary(site: Site) -> Value:
    return unary(site.b, _UNARY[site.operator.op], site[0])


@lowers("abs")
def _abs(site: Site) -> Value:
    x = site[0]
    if x.dtype in (Dtype.UINT8, Dtype.UINT16, Dtype.UINT32, Dtype.UINT64):
        return x
    return unary(site.b, "absolute", x)


@lowers("not")
def _not(site: Site) -> Value:
    return invert(site.b, site[0])


@lowers(*_BINARY)
def _binary(site: Site) -> Value:
    return binary(site.b, _BINARY[site.operator.op], site[0], site[1])


@lowers("and", "or", "xor")
def _logical(site: Site) -> Value:
    return logical(site.b, f"logical_{site.operator.op}", site[0], site[1])


@lowers("equal", "less", "less_or_equal")
def _compare(site: Site) -> Value:
    op = {"less_or_equal": "less_equal"}.get(site.operator.op, site.operator.op)
    return compare(site.b, op, site[0], site[1])


@lowers("greater", "greater_or_equal")
def _swapped(site: Site) -> Value:
    op = "less" if site.operator.op == "greater" else "less_equal"
    return compare(site.b, op, site[1], site[0])


@lowers("max", "min", "sum")
def _chain(site: Site) -> Value:
    op = {"max": "maximum", "min": "minimum", "sum": "add"}[site.operator.op]
    return chain(site.b, op, site.all)


@lowers("mean")
def _mean(site: Site) -> Value:
    values = site.all
    return binary(site.b, "divide", chain(site.b, "add", values), len(values))


@lowers("pow")
def _pow(site: Site) -> Value:
    """The result has the base's dtype; integers are raised in float64, which holds what fits them."""
    b, x, y = site.b, site[0], site[1]
    wide = Dtype.FLOAT32 if x.dtype in (Dtype.FLOAT32, *HALVES) else Dtype.FLOAT64
    return cast(b, binary(b, "power", cast(b, x, wide), cast(b, y, wide)), x.dtype)


@lowers("mod")
def _mod(site: Site) -> Value:
    op = "truncated_remainder" if site.whole("fmod") else "remainder"
    return binary(site.b, op, site[0], site[1])


@lowers("bit_shift")
def _bit_shift(site: Site) -> Value:
    op = "shift_left" if site.text("direction") == "LEFT" else "shift_right"
    return binary(site.b, op, site[0], site[1])


@lowers("where")
def _where(site: Site) -> Value:
    return where(site.b, site[0], site[1], site[2])


@lowers("cast")
def _cast(site: Site) -> Value:
    return cast(site.b, site[0], Dtype(site.whole("to")))


@lowers("cast_like")
def _cast_like(site: Site) -> Value:
    return cast(site.b, site[0], site[1].dtype)


@lowers("bit_cast")
def _bit_cast(site: Site) -> Value:
    x, dtype = site[0], Dtype(site.whole("to"))
    if Dtype(x.dtype).item_bytes != dtype.item_bytes:
        raise PlanError("bit_cast keeps the size of an element")
    return reinterpret(site.b, x, dtype)


@lowers("clip")
def _clip(site: Site) -> Value:
    b, x = site.b, site[0]
    low, high = site.maybe(1), site.maybe(2)
    bounds = [bound for bound in (low, high) if bound is not None]
    if x.dtype == Dtype.FLOAT32 and all(bound.data is not None for bound in bounds):
        numbers = [math.nan if bound is None else _number(site, bound) for bound in (low, high)]
        if not any(math.isnan(n) for n, bound in zip(numbers, (low, high), strict=True) if bound):
            least = -math.inf if low is None else numbers[0]
            return clip(b, x, least, math.inf if high is None else numbers[1])
    if low is not None:
        x = binary(b, "maximum", x, low)
    return x if high is None else binary(b, "minimum", x, high)


def _number(site: Site, bound: Value) -> float:
    place = 1 if bound is site.maybe(1) else 2
    return float(site.numbers(place)[0])


@lowers("is_nan")
def _is_nan(site: Site) -> Value:
    return asked(site.b, "is_nan", site[0])


@lowers("is_inf")
def _is_inf(site: Site) -> Value:
    words = [site.whole("detect_positive"), site.whole("detect_negative")]
    return asked(site.b, "is_inf", site[0], words)


# --- composites ------------------------------------------------------------------------------------------------------


def _widened(site: Site) -> Value:
    """The input, in float32 when it is a 16-bit float: a composite rounds once, at its end."""
    x = site[0]
    return cast(site.b, x, Dtype.FLOAT32) if x.dtype in HALVES else x


def _result(site: Site, made: Value) -> Value:
    return cast(site.b, made, site[0].dtype)


@lowers("reciprocal")
def _reciprocal(site: Site) -> Value:
    return binary(site.b, "divide", 1, site[0])


def _softplus(b: Builder, x: Value) -> Value:
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|), which does not overflow."""
    small = unary(b, "log1p", _exp(b, unary(b, "negative", unary(b, "absolute", x))))
    # maximum and not relu: at 0 its gradient is a half, as softplus has it.
    return binary(b, "add", binary(b, "maximum", x, 0.0), small)


def _exp(b: Builder, x: Value) -> Value:
    return unary(b, "exp", x)


@lowers("softplus")
def _softplus_of(site: Site) -> Value:
    return _result(site, _softplus(site.b, _widened(site)))


@lowers("mish")
def _mish(site: Site) -> Value:
    x = _widened(site)
    return _result(site, binary(site.b, "multiply", x, unary(site.b, "tanh", _softplus(site.b, x))))


@lowers("softsign")
def _softsign(site: Site) -> Value:
    b, x = site.b, _widened(site)
    return _result(site, binary(b, "divide", x, binary(b, "add", unary(b, "absolute", x), 1)))


@lowers("hard_swish")
def _hard_swish(site: Site) -> Value:
    b, x = site.b, _widened(site)
    return _result(site, binary(b, "multiply", x, _hard_sigmoid(b, x, 1 / 6, 0.5)))


def _hard_sigmoid(b: Builder, x: Value, alpha: float, beta: float) -> Value:
    return clip(b, binary(b, "add", binary(b, "multiply", x, alpha), beta), 0, 1)


@lowers("hard_sigmoid")
def _hard_sigmoid_of(site: Site) -> Value:
    x = _widened(site)
    return _result(site, _hard_sigmoid(site.b, x, site.real("alpha"), site.real("beta")))


def _elu(b: Builder, x: Value, alpha: float, scale: float = 1.0, gamma: float = 1.0) -> Value:
    """gamma * x above 0, gamma * alpha * (e^(x / scale) - 1) below."""
    low = binary(b, "minimum", x, 0)
    if scale != 1:
        low = binary(b, "divide", low, scale)
    below = binary(b, "multiply", binary(b, "subtract", _exp(b, low), 1), alpha)
    made = where(b, compare(b, "less", x, 0), below, x)
    return made if gamma == 1 else binary(b, "multiply", made, gamma)


@lowers("elu")
def _elu_of(site: Site) -> Value:
    return _result(site, _elu(site.b, _widened(site), site.real("alpha")))


@lowers("celu")
def _celu(site: Site) -> Value:
    alpha = site.real("alpha")
    return _result(site, _elu(site.b, _widened(site), alpha, scale=alpha))


@lowers("selu")
def _selu(site: Site) -> Value:
    made = _elu(site.b, _widened(site), site.real("alpha"), gamma=site.real("gamma"))
    return _result(site, made)


def _or_scaled(b: Builder, x: Value, slope: Term) -> Value:
    """x above 0, slope * x below."""
    return where(b, compare(b, "less", x, 0), binary(b, "multiply", x, slope), x)


@lowers("leaky_relu")
def _leaky_relu(site: Site) -> Value:
    return _result(site, _or_scaled(site.b, _widened(site), site.real("alpha")))


@lowers("p_relu")
def _p_relu(site: Site) -> Value:
    return _or_scaled(site.b, site[0], site[1])


@lowers("thresholded_relu")
def _thresholded_relu(site: Site) -> Value:
    b, x = site.b, _widened(site)
    return _result(site, where(b, compare(b, "less", site.real("alpha"), x), x, 0))


@lowers("shrink")
def _shrink(site: Site) -> Value:
    b, x, bias, edge = site.b, site[0], site.real("bias"), site.real("lambd")
    wide = cast(b, x, Dtype.FLOAT32) if x.dtype not in (Dtype.FLOAT32, Dtype.FLOAT64) else x
    above = compare(b, "less", edge, wide)
    below = compare(b, "less", wide, -edge)
    inner = where(b, below, binary(b, "add", wide, bias), 0)
    return cast(b, where(b, above, binary(b, "subtract", wide, bias), inner), x.dtype)


@lowers("gelu")
def _gelu(site: Site) -> Value:
    b, x = site.b, _widened(site)
    if site.text("approximate") == "tanh":
        cube = binary(b, "multiply", binary(b, "multiply", x, x), x)
        inner = binary(b, "add", x, binary(b, "multiply", cube, 0.044715))
        share = unary(b, "tanh", binary(b, "multiply", inner, math.sqrt(2 / math.pi)))
    else:
        share = unary(b, "error_function", binary(b, "multiply", x, math.sqrt(0.5)))
    half = binary(b, "multiply", x, 0.5)
    return _result(site, binary(b, "multiply", half, binary(b, "add", share, 1)))


@lowers("swish")
def _swish(site: Site) -> Value:
    b, x, alpha = site.b, _widened(site), site.real("alpha")
    inner = x if alpha == 1 else binary(b, "multiply", x, alpha)
    return _result(site, binary(b, "multiply", x, unary(b, "sigmoid", inner)))


@lowers("dropout")
def _dropout(site: Site) -> list[Value]:
    """At inference nothing is dropped."""
    training = site.maybe(2)
    if training is not None and site.integer(2):
        ratio = site.maybe(1)
        if ratio is None or float(site.numbers(1)[0]) != 0:
            raise PlanError(
                "dropout in training draws random numbers; export the model for inference"
            )
    mask = expand(site.b, scalar(site.b, Dtype.BOOL, True), site[0].shape)
    return [site[0], mask]
