"""What `shoal model show` says of a model."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cloud.admin.cli.main import run
from cloud.compiler.summary import summarise
from device_agent.engine.errors import ModelInvalid
from device_agent.engine.format import encode_model
from device_agent.engine.graph import Graph, Operator, Port
from tests.helpers.graphs import two_layers

ROOT = Path(__file__).parents[3]
TEXT = """\
file version 2, op set 3, {size} bytes
8 weights in 3 operators
input x: float32 [-1, 3]
output probabilities: float32 [-1, 2]
output active: float32 [-1, 2]
  sums = gemm(x, w, b; beta=1.0)
  active = relu(sums)
  probabilities = softmax(active)"""


def test_the_text_says_all() -> None:
    data = encode_model(two_layers())
    assert summarise(data).text() == TEXT.format(size=len(data))


def test_the_summary_is_json_and_shows_parts() -> None:
    body = Graph(
        inputs=(),
        outputs=(Port(name="inner"),),
        operators=(
            Operator(
                op="transpose", inputs=("active",), outputs=("inner",), attributes={"perm": (1, 0)}
            ),
        ),
    )
    choice = Operator(
        op="if",
        inputs=("active",),
        outputs=("probabilities",),
        attributes={"then_branch": body, "else_branch": body},
    )
    graph = two_layers()
    data = encode_model(replace(graph, operators=(*graph.operators[:2], choice)))
    summary = summarise(data)
    rows = json.loads(json.dumps(asdict(summary)))["operators"]
    assert rows[2]["kind"] == "control"
    assert rows[2]["attributes"]["then_branch"][0]["attributes"] == {"perm": [1, 0]}
    assert "    then_branch:\n      inner = transpose(active; perm=[1, 0])" in summary.text()


def test_damage_is_refused() -> None:
    with pytest.raises(ModelInvalid):
        summarise(encode_model(two_layers())[:-1])


def test_the_command_stores_weights_in_fewer_bits(tmp_path: Path) -> None:
    source = ROOT / "docs/examples/digits/models/cloud.onnx"
    sizes = []
    for weights in ("float32", "float16", "int8"):
        target = tmp_path / f"{weights}.shoalmodel"
        assert run(["model", "compile", str(source), str(target), "--weights", weights]) == 0
        sizes.append(target.stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < sizes[1]
    assert run(["model", "compile", str(source), str(tmp_path / "x"), "--weights", "int4"]) == 2


def test_the_command_shows_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.shoalmodel"
    file.write_bytes(encode_model(two_layers()))
    assert run(["model", "show", str(file), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["weights"] == 8
    file.write_bytes(b"junk")
    assert run(["model", "show", str(file)]) == 1
    assert "MODEL_INVALID" in capsys.readouterr().err
    assert run(["model", "compile", str(tmp_path / "missing.onnx")]) == 2
    assert run(["model", "compile", str(file), str(tmp_path / "no" / "folder")]) == 2
    assert run(["model", "compile", str(file), str(tmp_path / "new")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m.shoalmodel"]
