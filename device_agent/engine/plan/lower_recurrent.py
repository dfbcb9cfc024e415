"""Recurrent layers: all inputs times the weights at once, then the steps that hang on each other."""

from __future__ import annotations

from collections.abc import Sequence

from device_agent.engine.ops import Dtype
from device_agent.engine.plan.arithmetic import binary, cast, constant, matmul, word_of
from device_agent.engine.plan.context import Site, lowers
from device_agent.engine.plan.fold import bits_of
from device_agent.engine.plan.ir import Builder, Operand, Value
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.plan.transforms import concat, cut, filled, reshape, transpose

_TURNED_STEPS = 4  # of a sequence: as many or more are worth weights that are written anew once
_KINDS = {"rnn": (0, 1), "gru": (1, 3), "lstm": (2, 4)}  # code, gates
_FUNCTIONS = {
    "Sigmoid": (0, 0.0, 0.0), "Tanh": (1, 0.0, 0.0), "Relu": (2, 0.0, 0.0), "Affine": (3, 1.0, 0.0),
    "LeakyRelu": (4, 0.01, 0.0), "ThresholdedRelu": (5, 1.0, 0.0), "ScaledTanh": (6, 1.0, 1.0),
    "HardSigmoid": (7, 0.2, 0.5), "Elu": (8, 1.0, 0.0), "Softsign": (9, 0.0, 0.0), "Softplus": (10, 0.0, 0.0),
}  # fmt: skip
_TAKES = {
    "Affine": 2,
    "ScaledTanh": 2,
    "HardSigmoid": 2,
    "LeakyRelu": 1,
    "ThresholdedRelu": 1,
    "Elu": 1,
}
_DEFAULT = {"rnn": ("Tanh",), "gru": ("Sigmoid", "Tanh"), "lstm": ("Sigmoid", "Tanh", "Tanh")}


def _activations(site: Site, directions: int) -> list[list[int]]:
    """For each direction three words a function: its code, alpha and beta."""
    default = _DEFAULT[site.operator.op]
    names = site.attribute("activations") or default * directions
    if len(names) != len(default) * directions:
        raise PlanError(f"{site.operator.op} takes {len(default)} activations a direction")
    alphas = iter(site.attribute("activation_alpha") or ())
    betas = iter(site.attribute("activation_beta") or ())
    rows: list[list[int]] = [[] for _ in range(directions)]
    for i, given in enumerate(names):
        name = next((known for known in _FUNCTIONS if known.lower() == given.lower()), None)
        if name is None:
            raise PlanError(f"there is no activation {given}")
        code, alpha, beta = _FUNCTIONS[name]
        alpha = next(alphas, alpha) if _TAKES.get(name, 0) >= 1 else alpha
        beta = next(betas, beta) if _TAKES.get(name, 0) >= 2 else beta
        rows[i // len(default)] += [code, word_of(alpha), word_of(beta)]
    return rows


@lowers("rnn", "gru", "lstm")
def _recurrent(site: Site) -> list[Value]:
    b, op = site.b, site.operator.op
    batch_first = bool(site.whole("layout"))
    x = transpose(b, site[0], (1, 0, 2)) if batch_first else site[0]
    directions = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}.get(
        site.text("direction")
    )
    if directions is None or x.dtype != Dtype.FLOAT32:
        raise PlanError(f"{op} takes float32 and goes forward, in reverse or both ways")
    functions = _activations(site, len(directions))
    made = [
        _direction(site, x, i, reverse, functions[i], batch_first)
        for i, reverse in enumerate(directions)
    ]
    steps, batch, size = made[0][0].shape
    every = concat(b, [reshape(b, y, (steps, 1, batch, size)) for y, _, _ in made], 1)
    lasts = [concat(b, [reshape(b, row[k], (1, batch, size)) for row in made], 0) for k in (1, 2)]
    if batch_first:
        every = transpose(b, every, (2, 0, 1, 3))
        lasts = [transpose(b, last, (1, 0, 2)) for last in lasts]
    return [every, *lasts] if op == "lstm" else [every, lasts[0]]


def _direction(
    site: Site, x: Value, i: int, reverse: int, functions: Sequence[int], batch_first: bool
) -> list[Value]:
    b, op = site.b, site.operator.op
    code, gates = _KINDS[op]
    steps, batch, _ = x.shape
    w, r = _row(b, site[1], i), _row(b, site[2], i)
    size = r.shape[1]
    bias = site.maybe(3)
    zeros = filled(b, x.dtype, (2 * gates * size,), 0)
    both = zeros if bias is None else _row(b, bias, i)
    of_input, of_state = (cut(b, both, 0, k * gates * size, gates * size) for k in (0, 1))
    option = site.whole("linear_before_reset") if op == "gru" else 0
    option = site.whole("input_forget") if op == "lstm" else option
    extra = filled(b, x.dtype, (0,), 0)
    if op == "gru" and option:  # the candidate's bias stays inside the reset
        extra = cut(b, of_state, 0, 2 * size, size)
        of_state = concat(b, [cut(b, of_state, 0, 0, 2 * size), cut(b, zeros, 0, 0, size)], 0)
    elif op == "gru":
        extra = cut(b, zeros, 0, 0, size)
    elif op == "lstm":
        peepholes = site.maybe(7)
        extra = cut(b, zeros, 0, 0, 3 * size) if peepholes is None else _row(b, peepholes, i)
    products = matmul(b, x, transpose(b, w, (1, 0)))
    products = binary(b, "add", products, binary(b, "add", of_input, of_state))
    lengths = site.maybe(4)
    given = (
        constant(b, Dtype.INT64, [steps] * batch)
        if lengths is None
        else cast(b, lengths, Dtype.INT64)
    )
    states = [
        _state(b, site.maybe(place), i, batch, size, batch_first)
        for place in ((5, 6) if op == "lstm" else (5, 99))
    ]
    words = [code, reverse, option, word_of(site.real("clip")), *functions]
    operands = [b.operand(v) for v in (products, r, *states, extra, given)]
    if r.constant and steps >= _TURNED_STEPS:
        operands[1] = _turned(b, r)
    outputs = [(x.dtype, (steps, batch, size)), (x.dtype, (batch, size)), (x.dtype, (batch, size))]
    return b.step("recurrent", operands, outputs, words)


def _turned(b: Builder, r: Value) -> Operand:
    """The weights with a step's rows one after the other: results side by side need no sums across a vector."""
    base, dtype, _, shift, _ = b.operand(transpose(b, r, (1, 0)))
    return base, dtype, r.shape, shift, (1, r.shape[0])


def _row(b: Builder, x: Value, i: int) -> Value:
    return reshape(b, cut(b, x, 0, i, 1), x.shape[1:])


def _state(
    b: Builder, given: Value | None, i: int, batch: int, size: int, batch_first: bool
) -> Value:
    if given is None:
        return filled(b, Dtype.FLOAT32, (batch, size), bits_of(Dtype.FLOAT32, 0))
    return _row(b, transpose(b, given, (1, 0, 2)) if batch_first else given, i)
