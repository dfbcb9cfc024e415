"""Vector functions against math in float64: every activation over its whole range."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from device_agent.engine import _core
from tests.helpers.arrays import LEVELS, Level, tensor_of

every_level = pytest.mark.parametrize("level", LEVELS)
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _range() -> Floats:
    """Dense near zero, sparse far out, of both signs; 1,001 numbers do not fill whole vectors."""
    near = np.linspace(-10, 10, 20_001)
    far = np.geomspace(1e-30, 80, 2_000)
    return np.concatenate([near, far, -far]).astype(np.float32)


def _gelu(x: Doubles) -> Doubles:
    return np.asarray(x / 2 * (1 + _erf(x / math.sqrt(2))))


def _gelu_tanh(x: Doubles) -> Doubles:
    return np.asarray(x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


# activation: (reference, low, high, relative error, absolute error). Where a result is a difference of near numbers
# (gelu far left, elu near zero, silu by a sigmoid that ends) only the absolute error is bounded.
CASES: dict[str, tuple[Callable[[Doubles], Doubles], float, float, float, float]] = {
    "none": (lambda x: x, 0, 0, 0, 0),
    "clip": (lambda x: np.clip(x, -1, 2), -1, 2, 0, 0),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 0, 0, 4e-7, 1e-38),
    "silu": (lambda x: x / (1 + np.exp(-x)), 0, 0, 4e-7, 1e-36),
    "tanh": (np.tanh, 0, 0, 4e-7, 0),
    "gelu": (_gelu, 0, 0, 4e-7, 8e-7),
    "gelu_tanh": (_gelu_tanh, 0, 0, 4e-7, 6e-7),
    "hard_swish": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), 0, 0, 3e-7, 3e-7),
    "hard_sigmoid": (lambda x: np.clip(0.2 * x + 0.5, 0, 1), 0.2, 0.5, 3e-7, 1e-7),
    "leaky_relu": (lambda x: np.where(x < 0, x * np.float64(np.float32(0.01)), x), 0.01, 0, 2e-7, 1e-38),
    "elu": (lambda x: np.where(x < 0, 1.5 * np.expm1(x), x), 1.5, 0, 2e-7, 2e-7),
    "softplus": (lambda x: np.logaddexp(0, x), 0, 0, 4e-7, 1e-38),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), 0, 0, 5e-7, 1e-36),
    "erf": (_erf, 0, 0, 4e-7, 0),
    "exp": (np.exp, 0, 0, 3e-7, 1e-38),
}  # fmt: skip


@every_level
@pytest.mark.parametrize("name", CASES)
def test_activation(name: str, level: Level) -> None:
    reference, low, high, relative, absolute = CASES[name]
    x = _range()
    got = np.asarray(_core.kernel_activate(tensor_of(x), name, low, high, level=level))  # type: ignore[arg-type]
    want = reference(x.astype(np.float64))
    slack = relative * np.abs(want) + absolute
    worst = np.argmax(np.abs(got - want) - slack)
    assert abs(got[worst] - want[worst]) <= slack[worst], (x[worst], got[worst], want[worst])


@every_level
@pytest.mark.parametrize("name", CASES)
def test_ends_of_the_range(name: str, level: Level) -> None:
    reference, low, high, _, _ = CASES[name]
    x = np.array([np.inf, -np.inf, np.nan, 1e38, -1e38, 0.0], dtype=np.float32)
    got = np.asarray(_core.kernel_activate(tensor_of(x), name, low, high, level=level))  # type: ignore[arg-type]
    with np.errstate(all="ignore"):
        want = reference(x.astype(np.float64)).astype(np.float32)
    assert np.isnan(got[2])
    assert got[0] == want[0] or np.isnan(want[0])
    assert got[5] == want[5]
    np.testing.assert_allclose(got[3], want[3], rtol=1e-6)


@every_level
def test_logarithm(level: Level) -> None:
    x = np.concatenate([np.geomspace(1e-45, 3e38, 30_000), [0, -1, np.inf, np.nan, -0.0]])
    x = x.astype(np.float32)
    steps = [("logarithm", 0, 0, 8, "none", 0.0, 0.0)]
    out, _ = _core.kernel_chain([tensor_of(x)], steps, (1, 1, len(x)), level=level)
    with np.errstate(all="ignore"):
        want = np.log(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(out).ravel(), want, rtol=3e-7, atol=6e-8)


@every_level
@pytest.mark.parametrize("power", [quarters / 4 for quarters in range(1, 17)])
def test_powers_of_quarters(power: float, level: Level) -> None:
    ends = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1.0, -2.5]
    x = np.concatenate([np.geomspace(1e-9, 1e9, 5_001), ends]).astype(np.float32)
    steps = [("power", 0, 0, 8, "none", power, 0.0)]
    out, _ = _core.kernel_chain([tensor_of(x)], steps, (1, 1, len(x)), level=level)
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), np.full(len(x), power)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(out).ravel(), want, rtol=3e-7, atol=1e-38)


@pytest.mark.parametrize("power", [0.0, -0.5, 0.3, 4.25, 1e30, np.nan, np.inf])
def test_other_powers_are_refused(power: float) -> None:
    steps = [("power", 0, 0, 8, "none", power, 0.0)]
    with pytest.raises(ValueError, match="chain"):
        _core.kernel_chain([tensor_of(np.ones(4, np.float32))], steps, (1, 1, 4))
