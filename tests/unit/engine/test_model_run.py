"""Loaded models: ports, batches, memory reuse, one mapping for all, and use from many threads."""

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from device_agent.engine import _core
from device_agent.engine.format import encode_model
from device_agent.engine.graph import Graph, Operator, Port
from device_agent.engine.model import load_model, parse_model
from device_agent.engine.ops import Dtype
from tests.helpers.graphs import two_layers

MODEL = encode_model(two_layers())


def chain(length: int, width: int) -> Graph:
    """x + x, again and again; every second result is used once more at the end."""
    operators = []
    names = ["x", *(f"t{i}" for i in range(length))]
    for i in range(length):
        operators.append(Operator(op="add", inputs=(names[i], names[i]), outputs=(names[i + 1],)))
    last = names[length]
    for i in range(2, length, 2):
        operators.append(Operator(op="add", inputs=(last, names[i]), outputs=(f"u{i}",)))
        last = f"u{i}"
    return Graph(
        inputs=(Port(name="x", dtype=Dtype.INT64, shape=(-1, width)),),
        outputs=(Port(name=last),),
        operators=tuple(operators),
    )


def test_inputs_by_name_by_place_and_alone() -> None:
    model = parse_model(MODEL)
    x = _core.tensor([[1, 1, 1]])
    want = [y.tolist() for y in model.run(x)]
    assert [y.tolist() for y in model.run({"x": x})] == want
    assert [y.tolist() for y in model.run([x])] == want


@pytest.mark.parametrize("batch", [0, 1, 2, 7, 100])
def test_any_batch(batch: int) -> None:
    outputs = parse_model(MODEL).run(_core.full((batch, 3), 1.0))
    assert [y.shape for y in outputs] == [(batch, 2), (batch, 2)]
    assert outputs[1].tolist() == [[0.0, 13.0]] * batch


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        ({}, ValueError, "'x' is missing"),
        ({"x": _core.zeros((1, 3)), "y": _core.zeros(1)}, ValueError, "more inputs"),
        ([], ValueError, "takes 1 inputs"),
        (_core.zeros((1, 4)), ValueError, r"\(-1, 3\)"),
        (_core.zeros((3,)), ValueError, r"\(-1, 3\)"),
        (_core.zeros(()), ValueError, r"\(-1, 3\)"),
        (_core.zeros((1, 3), "int32"), TypeError, "is float32"),
        ([1], TypeError, "a Tensor is needed"),
        (7, TypeError, "iterable"),
    ],
)
def test_wrong_inputs_are_refused(inputs: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_model(MODEL).run(inputs)  # type: ignore[arg-type]  # wrong on purpose


def test_memory_that_is_used_again_holds_the_right_numbers() -> None:
    model = parse_model(encode_model(chain(40, 5)))
    want = 2**40 + sum(2**i for i in range(2, 40, 2))
    for batch in (1, 3):
        assert model.run(_core.full((batch, 5), 1, "int64"))[0].tolist() == [[want] * 5] * batch


def test_an_input_or_a_weight_may_be_an_output() -> None:
    x = Port(name="x", dtype=Dtype.FLOAT32, shape=(-1, 3))
    w = Port(name="w", dtype=Dtype.FLOAT32, shape=(3, 2))
    graph = replace(two_layers(), outputs=(two_layers().outputs[0], x, w))
    model = parse_model(encode_model(graph))
    assert model.outputs[1:] == (("x", "float32", (-1, 3)), ("w", "float32", (3, 2)))
    given = _core.tensor([[1, 2, 3]])
    outputs = model.run(given)
    del model  # the weight that was given out keeps the file's bytes
    assert outputs[1].tolist() == given.tolist()
    assert outputs[2].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_one_mapping_for_all_who_load_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.shoalmodel"
    path.write_bytes(MODEL)
    os.link(path, tmp_path / "another-name")

    def mappings() -> int:
        return sum(m.path.startswith(str(tmp_path)) for m in psutil.Process().memory_maps(False))

    models = [load_model(str(path)), load_model(str(tmp_path / "another-name"))]
    assert mappings() == 1
    assert models[0].run(_core.zeros((1, 3)))[1].tolist() == [[0.0, 1.0]]
    models.clear()
    assert mappings() == 0


def test_a_replaced_file_is_another_model(tmp_path: Path) -> None:
    path, other = tmp_path / "m.shoalmodel", tmp_path / "new"
    path.write_bytes(MODEL)
    old = load_model(str(path))
    graph = two_layers()
    other.write_bytes(encode_model(replace(graph, outputs=graph.outputs[1:])))
    other.replace(path)
    assert len(load_model(str(path)).outputs) == 1
    assert len(old.outputs) == 2


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"hello"), ("cut", MODEL[:-1])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(_core.ModelInvalid) as refusal:
            load_model(str(tmp_path / name))
        assert refusal.value.code == "MODEL_INVALID"
    with pytest.raises(_core.ModelInvalid, match="a model is a file"):
        load_model(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(_core.ModelInvalid, match="a model is a file"):
        load_model(str(tmp_path / "pipe"))
    with pytest.raises(FileNotFoundError):
        load_model(str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="null"):
        load_model("a\0b")


def test_many_threads_load_and_run_one_file(tmp_path: Path) -> None:
    path = tmp_path / "m.shoalmodel"
    path.write_bytes(encode_model(chain(30, 64)))
    want = 2**30 + sum(2**i for i in range(2, 30, 2))
    wrong: list[object] = []

    def work() -> None:
        for batch in range(1, 20):
            made = load_model(str(path)).run(_core.full((batch, 64), 1, "int64"))[0]
            if made.tolist() != [[want] * 64] * batch:
                wrong.append(batch)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not wrong
    shutil.rmtree(tmp_path)
