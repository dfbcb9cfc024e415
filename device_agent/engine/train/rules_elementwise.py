"""Gradients of what works element by element."""

from __future__ import annotations

from collections.abc import Callable
from math import pi

from device_agent.engine.plan.arithmetic import binary, cast, compare, logical, unary, where
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.words import number_of
from device_agent.engine.train.rules import Place, gradient_of

type Maybe = Value | None


@gradient_of("add")
def _add(at: Place) -> list[Maybe]:
    return [at.summed(at.gradient, i) for i in range(2)]


@gradient_of("subtract")
def _subtract(at: Place) -> list[Maybe]:
    return [
        at.summed(at.gradient, 0),
        at.summed(unary(at.b, "negative", at.gradient), 1) if at.wants(1) else None,
    ]


@gradient_of("multiply")
def _multiply(at: Place) -> list[Maybe]:
    return [
        at.summed(binary(at.b, "multiply", at.gradient, at[1 - i]), i) if at.wants(i) else None
        for i in range(2)
    ]


@gradient_of("divide")
def _divide(at: Place) -> list[Maybe]:
    share = binary(at.b, "divide", at.gradient, at[1])
    below = None
    if at.wants(1):
        below = at.summed(unary(at.b, "negative", binary(at.b, "multiply", share, at.out)), 1)
    return [at.summed(share, 0), below]


@gradient_of("maximum", "minimum")
def _extreme(at: Place) -> list[Maybe]:
    """Where both are equal each has half of it."""
    b, half = at.b, binary(at.b, "multiply", at.gradient, 0.5)
    same = compare(b, "equal", at[0], at[1])
    parts: list[Maybe] = []
    for i in range(2):
        least, most = (at[i], at[1 - i]) if at.op == "minimum" else (at[1 - i], at[i])
        wins = where(b, compare(b, "less", least, most), at.gradient, 0.0)
        parts.append(at.summed(where(b, same, half, wins), i) if at.wants(i) else None)
    return parts


@gradient_of("power")
def _power(at: Place) -> list[Maybe]:
    b, x, power = at.b, at[0], at[1]
    base = exponent = None
    if at.wants(0):
        slope = binary(
            b, "multiply", power, binary(b, "power", x, binary(b, "subtract", power, 1.0))
        )
        base = at.summed(binary(b, "multiply", at.gradient, slope), 0)
    if at.wants(1):
        slope = binary(b, "multiply", at.out, unary(b, "logarithm", x))
        exponent = at.summed(binary(b, "multiply", at.gradient, slope), 1)
    return [base, exponent]


@gradient_of("where")
def _where(at: Place) -> list[Maybe]:
    b, condition = at.b, at[0]
    return [
        None,
        at.summed(where(b, condition, at.gradient, 0.0), 1),
        at.summed(where(b, condition, 0.0, at.gradient), 2),
    ]


@gradient_of("negative")
def _negative(at: Place) -> list[Maybe]:
    return [unary(at.b, "negative", at.gradient)]


@gradient_of("cast")
def _cast(at: Place) -> list[Maybe]:
    return [cast(at.b, at.gradient, at.dtype(0))]


@gradient_of("relu")
def _relu(at: Place) -> list[Maybe]:
    return [where(at.b, compare(at.b, "less", 0.0, at[0]), at.gradient, 0.0)]


@gradient_of("clip")
def _clip(at: Place) -> list[Maybe]:
    b, x = at.b, at[0]
    low, high = number_of(at.words[0]), number_of(at.words[1])
    inside = logical(
        b, "logical_and", compare(b, "less_equal", low, x), compare(b, "less_equal", x, high)
    )
    return [where(b, inside, at.gradient, 0.0)]


def _slope(atom: str, slope: Callable[[Builder, Value, Value], Value]) -> None:
    """An atom of one number whose gradient is multiplied by slope(b, operand, result)."""

    @gradient_of(atom)
    def rule(at: Place) -> list[Maybe]:
        return [binary(at.b, "multiply", at.gradient, slope(at.b, at[0], at.out))]


def _sigmoid(b: Builder, _x: Value, y: Value) -> Value:
    return binary(b, "multiply", y, binary(b, "subtract", 1.0, y))


def _tanh(b: Builder, _x: Value, y: Value) -> Value:
    return binary(b, "subtract", 1.0, binary(b, "multiply", y, y))


def _error_function(b: Builder, x: Value, _y: Value) -> Value:
    fall = unary(b, "exp", unary(b, "negative", binary(b, "multiply", x, x)))
    return binary(b, "multiply", fall, 2.0 / pi**0.5)


def _absolute(b: Builder, x: Value, _y: Value) -> Value:
    return unary(b, "sign", x)


_slope("sigmoid", _sigmoid)
_slope("tanh", _tanh)
_slope("exp", lambda _b, _x, y: y)
_slope("sqrt", lambda b, _x, y: binary(b, "divide", 0.5, y))
_slope("logarithm", lambda b, x, _y: binary(b, "divide", 1.0, x))
_slope("log1p", lambda b, x, _y: binary(b, "divide", 1.0, binary(b, "add", x, 1.0)))
_slope("sine", lambda b, x, _y: unary(b, "cosine", x))
_slope("cosine", lambda b, x, _y: unary(b, "negative", unary(b, "sine", x)))
_slope("error_function", _error_function)
_slope("absolute", _absolute)
