"""Gradients of matrix products."""

from __future__ import annotations

from device_agent.engine.plan.arithmetic import binary, matmul, swap_last
from device_agent.engine.plan.ir import Builder, Value
from device_agent.engine.plan.transforms import reshape
from device_agent.engine.plan.words import number_of
from device_agent.engine.train.rules import Place, gradient_of, summed_to


@gradient_of("matmul")
def _matmul(at: Place) -> list[Value | None]:
    """d(a @ b) = g @ b^T and a^T @ g; one axis takes part as a row or a column."""
    b, left, right, gradient = at.b, at[0], at[1], at.gradient
    a = reshape(b, left, (1, *left.shape)) if len(left.shape) == 1 else left
    c = reshape(b, right, (*right.shape, 1)) if len(right.shape) == 1 else right
    batch = gradient.shape[: max(len(a.shape), len(c.shape)) - 2]
    gradient = reshape(b, gradient, (*batch, a.shape[-2], c.shape[-1]))
    first = second = None
    if at.wants(0):
        wide = matmul(b, gradient, swap_last(b, c))
        first = reshape(b, summed_to(b, wide, a.shape), left.shape)
    if at.wants(1):
        wide = matmul(b, swap_last(b, a), gradient)
        second = reshape(b, summed_to(b, wide, c.shape), right.shape)
    return [first, second]


@gradient_of("gemm")
def _gemm(at: Place) -> list[Value | None]:
    """y = alpha * a @ b + beta * c, a and b each turned round or not."""
    b, alpha, beta = at.b, number_of(at.words[0]), number_of(at.words[1])
    turned_a, turned_b = bool(at.words[2]), bool(at.words[3])
    gradient = _scaled(b, at.gradient, alpha)
    first = second = third = None
    if at.wants(0):
        right = at[1] if turned_b else swap_last(b, at[1])
        first = matmul(b, gradient, right)
        first = swap_last(b, first) if turned_a else first
    if at.wants(1):
        left = at[0] if turned_a else swap_last(b, at[0])
        second = matmul(b, left, gradient)
        second = swap_last(b, second) if turned_b else second
    if at.wants(2):
        third = at.summed(_scaled(b, at.gradient, beta), 2)
    return [first, second, third][: len(at)]


def _scaled(b: Builder, x: Value, factor: float) -> Value:
    return x if factor == 1.0 else binary(b, "multiply", x, factor)
