"""Trains the three models of the example and fixes the devices' thresholds: python -m docs.examples.digits.train

Rules of this module:

- Every random choice has a seed, so the same packages on the same machine give the same models.
- A model takes the pixel bytes themselves, (n, 64) uint8, and gives probabilities (n, 10): the scaling is in its graph.
- Choices are made on the validation fold; the test fold is only printed.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier

from docs.examples.digits.dataset import (
    INK_MAX,
    PIXELS,
    Fold,
    Pixels,
    held_out_fold,
    train_fold,
    validation_fold,
)
from docs.examples.digits.measure import Share, threshold_for
from docs.examples.digits.shifts import NEIGHBOURS, augmented, shifted, with_neighbours

HERE = Path(__file__).parent
ESCALATED_SHARE = 0.12
ONNX_OPSET = 17
Probabilities = npt.NDArray[np.float64]


def fit(fold: Fold, layers: tuple[int, ...], epochs: int, alpha: float, seed: int) -> MLPClassifier:
    """One multi-layer perceptron."""
    model = MLPClassifier(
        hidden_layer_sizes=layers,
        alpha=alpha,
        batch_size=128,
        learning_rate_init=1e-3,
        max_iter=epochs,
        n_iter_no_change=epochs,
        tol=0.0,
        random_state=seed,
    )
    for _ in range(epochs):
        model.partial_fit(fold.pixels / INK_MAX, fold.labels, classes=np.arange(10))
    return model


def predict(models: Sequence[MLPClassifier], pixels: Pixels) -> Probabilities:
    """Mean probabilities (n, 10) of the models."""
    return np.mean([model.predict_proba(pixels / INK_MAX) for model in models], axis=0)


def to_onnx(models: Sequence[MLPClassifier], name: str) -> onnx.ModelProto:
    """The mean of the models as one graph: uint8 pixels (n, 64) -> float32 probabilities (n, 10)."""
    constants = [numpy_helper.from_array(np.float32(INK_MAX), "ink_max")]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["ink"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["ink", "ink_max"], ["scaled"], "scale"),
    ]
    heads = []
    for index, model in enumerate(models):
        value = "scaled"
        for layer, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
            here = f"m{index}_l{layer}"
            constants.append(numpy_helper.from_array(weights.astype(np.float32), f"{here}_w"))
            constants.append(numpy_helper.from_array(bias.astype(np.float32), f"{here}_b"))
            inputs = [value, f"{here}_w", f"{here}_b"]
            nodes.append(helper.make_node("Gemm", inputs, [f"{here}_z"], here))
            last = layer == len(model.coefs_) - 1
            kind, attributes = ("Softmax", {"axis": 1}) if last else ("Relu", {})
            value = f"{here}_a"
            nodes.append(helper.make_node(kind, [f"{here}_z"], [value], f"{here}_f", **attributes))
        heads.append(value)
    total = heads[0]
    for index, head in enumerate(heads[1:], start=1):
        nodes.append(helper.make_node("Add", [total, head], [f"sum{index}"], f"add{index}"))
        total = f"sum{index}"
    constants.append(numpy_helper.from_array(np.float32(len(models)), "model_count"))
    nodes.append(helper.make_node("Div", [total, "model_count"], ["probabilities"], "mean"))
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", PIXELS])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ONNX_OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def averaged_over_shifts(models: Sequence[MLPClassifier], pixels: Pixels) -> Probabilities:
    """What version 2's script does: the mean over the digit and its four one-pixel neighbours."""
    return np.mean([predict(models, shifted(pixels, *by)) for by in NEIGHBOURS], axis=0)


def report(name: str, fold: Fold, probabilities: Probabilities) -> None:
    """Prints one line of accuracy."""
    hits = int((probabilities.argmax(axis=1) == fold.labels).sum())
    print(f"{name:24} {Share(hits=hits, total=len(fold.labels))}")


def write_threshold(path: Path, probabilities: Probabilities) -> None:
    """Fixes how sure a device must be, so that about 12 % of the validation fold is escalated."""
    threshold = threshold_for(probabilities.max(axis=1).tolist(), ESCALATED_SHARE)
    path.write_text(
        '"""Written by train.py: fixed on the validation fold so that about 12 % is escalated."""\n\n'
        f"CONFIDENCE_MIN = {threshold:.4f}\n"
    )


def main() -> None:
    """Trains, reports, writes models and thresholds."""
    training, validation, held_out = train_fold(), validation_fold(), held_out_fold()
    small = with_neighbours(augmented(training, copies=4, seed=3))
    large = augmented(training, copies=20, seed=7)
    v1 = [fit(training, (16,), epochs=90, alpha=1e-3, seed=1)]
    v2 = [fit(small, (112,), epochs=40, alpha=1e-3, seed=2)]
    cloud = [fit(large, (192, 96), epochs=50, alpha=1e-3, seed=seed) for seed in range(11, 18)]
    for name, models in (("device_v1", v1), ("device_v2", v2), ("cloud", cloud)):
        data = to_onnx(models, f"digits_{name}").SerializeToString(deterministic=True)
        (HERE / "models" / f"{name}.onnx").write_bytes(data)
        report(f"{name} validation", validation, predict(models, validation.pixels))
        report(f"{name} test", held_out, predict(models, held_out.pixels))
    report("v2 averaged validation", validation, averaged_over_shifts(v2, validation.pixels))
    report("v2 averaged test", held_out, averaged_over_shifts(v2, held_out.pixels))
    write_threshold(HERE / "v1" / "threshold.py", predict(v1, validation.pixels))
    write_threshold(HERE / "v2" / "threshold.py", averaged_over_shifts(v2, validation.pixels))


if __name__ == "__main__":
    main()
