"""The trainer: optimisers against their formulas, what moves and what does not, and what is refused."""

from typing import Any

import numpy as np
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine.errors import TrainingRefused
from device_agent.engine.model import Model, parse_model
from device_agent.engine.train.losses import CrossEntropy, MeanSquaredError
from device_agent.engine.train.optimizers import Adam, Optimizer, Sgd
from device_agent.engine.train.trainer import Trainer
from tests.helpers.arrays import Array, tensor_of
from tests.helpers.graphs import node, onnx_model

RNG = np.random.default_rng(20261126)
X = RNG.standard_normal((8, 3)).astype(np.float32)
Y = RNG.standard_normal((8, 2)).astype(np.float32)
W = RNG.standard_normal((3, 2)).astype(np.float32)
C = np.array([0.5, -0.25], np.float32)


def linear(rows: int | str = "n", **constants: Any) -> Model:
    """y = x @ w + c."""
    nodes = [node("MatMul", "x w", "h"), node("Add", "h c", "y")]
    return parse_model(
        compile_onnx(onnx_model(nodes, {"x": [rows, 3]}, ["y"], {"w": W, "c": C, **constants}))
    )


def slopes(w: Any, c: Any, x: Array, y: Array) -> tuple[float, Any, Any]:
    """Mean squared error of a line and its gradients, by hand."""
    off = x @ w + c - y
    return float((off**2).mean()), 2 * x.T @ off / off.size, 2 * off.sum(0) / off.size


def moved(optimizer: Optimizer, steps: int) -> tuple[list[float], dict[str, Array]]:
    trainer = Trainer(linear(), loss=MeanSquaredError(), optimizer=optimizer)
    losses = [trainer.step(tensor_of(X), tensor_of(Y)) for _ in range(steps)]
    assert trainer.steps == steps
    return losses, {name: np.asarray(tensor) for name, tensor in trainer.parameters.items()}


def by_sgd(
    rate: float, momentum: float, decay: float, steps: int
) -> tuple[list[float], list[Array]]:
    parameters, speeds = (
        [W.astype(np.float64), C.astype(np.float64)],
        [np.zeros(W.shape), np.zeros(C.shape)],
    )
    losses = []
    for _ in range(steps):
        loss, *gradients = slopes(parameters[0], parameters[1], X, Y)
        losses.append(loss)
        for i, gradient in enumerate(gradients):
            speeds[i] = momentum * speeds[i] + gradient + decay * parameters[i]
            parameters[i] = parameters[i] - rate * speeds[i]
    return losses, parameters


def by_adam(rate: float, decay: float, steps: int) -> tuple[list[float], list[Array]]:
    parameters = [W.astype(np.float64), C.astype(np.float64)]
    means, squares = (
        [np.zeros(p.shape) for p in parameters],
        [np.zeros(p.shape) for p in parameters],
    )
    losses = []
    for step in range(1, steps + 1):
        loss, *gradients = slopes(parameters[0], parameters[1], X, Y)
        losses.append(loss)
        for i, gradient in enumerate(gradients):
            means[i] = 0.9 * means[i] + 0.1 * gradient
            squares[i] = 0.999 * squares[i] + 0.001 * gradient**2
            mean, square = means[i] / (1 - 0.9**step), squares[i] / (1 - 0.999**step)
            parameters[i] = parameters[i] * (1 - rate * decay) - rate * mean / (
                np.sqrt(square) + 1e-8
            )
    return losses, parameters


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.5, 0.01)])
def test_gradient_descent_is_as_its_formula(momentum: float, decay: float) -> None:
    losses, parameters = moved(Sgd(rate=0.1, momentum=momentum, weight_decay=decay), 20)
    want, (w, c) = by_sgd(0.1, momentum, decay, 20)
    np.testing.assert_allclose(losses, want, rtol=2e-5)
    np.testing.assert_allclose(parameters["w"], w, atol=2e-5)
    np.testing.assert_allclose(parameters["c"], c, atol=2e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_as_its_formula(decay: float) -> None:
    losses, parameters = moved(Adam(rate=0.05, weight_decay=decay), 20)
    want, (w, c) = by_adam(0.05, decay, 20)
    np.testing.assert_allclose(losses, want, rtol=5e-5)
    np.testing.assert_allclose(parameters["w"], w, atol=5e-5)
    np.testing.assert_allclose(parameters["c"], c, atol=5e-5)


def test_batches_of_any_size_train_one_model() -> None:
    trainer = Trainer(linear(), loss=MeanSquaredError(), optimizer=Sgd(rate=0.1))
    w, c = W, C
    for rows in (8, 3, 8, 1):
        loss = trainer.step(tensor_of(X[:rows]), tensor_of(Y[:rows]))
        want, dw, dc = slopes(w, c, X[:rows], Y[:rows])
        w, c = w - 0.1 * dw, c - 0.1 * dc
        assert loss == pytest.approx(want, rel=1e-5)
    np.testing.assert_allclose(np.asarray(trainer.parameters["w"]), w, atol=1e-5)


def test_the_trained_model_is_a_file_and_the_first_one_stays() -> None:
    model = linear()
    before = np.asarray(model.run(tensor_of(X))[0])
    trainer = Trainer(model, loss=MeanSquaredError(), optimizer=Sgd(rate=0.1))
    for _ in range(200):
        trainer.step(tensor_of(X), tensor_of(Y))
    (after,) = parse_model(trainer.to_bytes()).run(tensor_of(X))
    w, c = (np.asarray(trainer.parameters[name]) for name in ("w", "c"))
    np.testing.assert_allclose(np.asarray(after), X @ w + c, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(model.run(tensor_of(X))[0]), before)
    assert np.mean((np.asarray(after) - Y) ** 2) < 0.6 * np.mean((before - Y) ** 2)


def test_only_named_parameters_move() -> None:
    trainer = Trainer(linear(), loss=MeanSquaredError(), optimizer=Sgd(rate=0.1), parameters=["c"])
    trainer.step(tensor_of(X), tensor_of(Y))
    assert list(trainer.parameters) == ["c"]
    np.testing.assert_allclose(
        np.asarray(trainer.parameters["c"]), C - 0.1 * slopes(W, C, X, Y)[2], atol=1e-6
    )
    assert trainer.to_graph().constants["w"].data == W.tobytes()


def test_running_statistics_and_what_is_not_reached_stay() -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("BatchNormalization", "h s b m v", "y"),
        node("Mul", "x aside", "z"),
    ]
    ones = np.ones(2, np.float32)
    constants = {
        "w": W,
        "s": ones,
        "b": C,
        "m": 0 * ones,
        "v": ones,
        "aside": np.ones(3, np.float32),
    }
    data = onnx_model(nodes, {"x": ["n", 3]}, ["y", "z"], constants)
    model = parse_model(compile_onnx(data))
    trainer = Trainer(
        model, loss=MeanSquaredError(), optimizer=Sgd(rate=0.1, momentum=0.5), output="y"
    )
    before = {name: tensor.tobytes() for name, tensor in trainer.parameters.items()}
    for _ in range(2):
        trainer.step(tensor_of(X), tensor_of(Y))
    changed = {n for n, tensor in trainer.parameters.items() if tensor.tobytes() != before[n]}
    assert changed == {"w", "s", "b"}
    assert not {"m", "v"} & set(before)


def test_a_parameter_that_is_used_twice_gets_both_gradients() -> None:
    nodes = [node("MatMul", "x w", "h"), node("MatMul", "h w", "y")]
    square = RNG.standard_normal((3, 3)).astype(np.float32)
    model = parse_model(compile_onnx(onnx_model(nodes, {"x": [8, 3]}, ["y"], {"w": square})))
    targets = np.zeros((8, 3), np.float32)
    trainer = Trainer(model, loss=MeanSquaredError(), optimizer=Sgd(rate=1.0))
    trainer.step(tensor_of(X), tensor_of(targets))
    slope = 2 * (X @ square @ square) / 24
    want = X.T @ (slope @ square.T) + (X @ square).T @ slope
    np.testing.assert_allclose(
        square - np.asarray(trainer.parameters["w"]), want, rtol=1e-4, atol=1e-5
    )


def refused(match: str, model: Model, targets: Array = Y, x: Array = X, **arguments: Any) -> None:
    settings = {"loss": MeanSquaredError(), "optimizer": Sgd(), **arguments}
    with pytest.raises(TrainingRefused, match=match):
        Trainer(model, **settings).step(tensor_of(x), tensor_of(targets))


def test_what_cannot_be_trained_is_said() -> None:
    refused(r"no float32 constant 'gone'; it has w, c", linear(), parameters=["gone"])
    refused(r"no output 'z'; it has y", linear(), output="z")
    refused(r"squared error takes float32 targets in the output's shape \(8, 2\)", linear(), Y[:3])
    wrong = np.zeros(8, np.float32)
    refused(r"int64 targets \(n,\), not .* float32", linear(), wrong, loss=CrossEntropy())
    with pytest.raises(ValueError, match="input 'x' has shape"):
        Trainer(linear(), loss=MeanSquaredError(), optimizer=Sgd()).step(tensor_of(Y), tensor_of(Y))
    two = onnx_model([node("Neg", "x", "y"), node("Abs", "x", "z")], {"x": [8, 2]}, ["y", "z"])
    refused("the outputs y, z; say which", parse_model(compile_onnx(two)), x=Y)
    none = onnx_model([node("Neg", "x", "y")], {"x": [8, 2]}, ["y"])
    refused("no parameter has part in 'y'", parse_model(compile_onnx(none)), x=Y)


def test_shapes_that_hang_on_numbers_are_refused() -> None:
    nodes = [
        node("MatMul", "x w", "h"),
        node("NonZero", "h", "places"),
        node("Cast", "places", "y", to=1),
    ]
    model = parse_model(compile_onnx(onnx_model(nodes, {"x": [8, 3]}, ["y"], {"w": W})))
    refused("cannot be trained|has no gradient|no parameter has part", model)
