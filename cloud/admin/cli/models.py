"""`shoal model …`: ONNX to the file that devices run."""

from pathlib import Path

from cyclopts import App

from cloud.admin.cli.errors import UsageWrong
from cloud.compiler.compile import compile_file
from device_agent.engine.format import decode_model

app = App(name="model", help="Models: compile, look at.")


@app.command(name="compile")
def compile_model(source: Path, destination: Path | None = None) -> None:
    """Compile an ONNX file; the result lies beside it as .shoalmodel unless a place is named."""
    if not source.is_file():
        raise UsageWrong(f"there is no file {source}")
    target = destination or source.with_suffix(".shoalmodel")
    size = compile_file(source, target)
    print(f"{target} {size} bytes")


@app.command
def show(file: Path) -> None:
    """Operators and tensors of a compiled model."""
    if not file.is_file():
        raise UsageWrong(f"there is no file {file}")
    graph = decode_model(file.read_bytes())
    for operator in graph.operators:
        print(operator)
