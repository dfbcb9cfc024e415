"""`shoal model …`: ONNX to the file that devices run."""

from dataclasses import asdict
from pathlib import Path

from cyclopts import App

from cloud.admin.cli.errors import UsageWrong
from cloud.admin.cli.output import show
from cloud.admin.cli.where import HERE, Where
from cloud.compiler.compile import compile_file
from cloud.compiler.narrowing import Weights
from cloud.compiler.summary import summarise
from device_agent.engine.errors import ModelInvalid
from device_agent.engine.settings import LIMITS

app = App(name="model", help="Models: compile, look at.")


@app.command(name="compile")
def compile_model(
    source: Path,
    destination: Path | None = None,
    *,
    weights: Weights = Weights.FLOAT32,
    where: Where = HERE,
) -> None:
    """Compile an ONNX file; the result lies beside it as .shoalmodel unless a place is named.

    Args:
        source: The ONNX file.
        destination: The compiled file.
        weights: How they are stored: float16 and bfloat16 halve the file; int8 quarters it, and products round
            what they are given to 8 bits as it comes.
        where: How the result is printed.
    """
    if not source.is_file():
        raise UsageWrong(f"there is no file {source}")
    target = destination or source.with_suffix(".shoalmodel")
    if not target.parent.is_dir():
        raise UsageWrong(f"there is no folder {target.parent}")
    size = compile_file(source, target, weights)
    show({"file": str(target), "bytes": size}, where.output, f"{target} {size} bytes")


@app.command(name="show")
def show_model(file: Path, *, where: Where = HERE) -> None:
    """Inputs, outputs and operators of a compiled model."""
    if not file.is_file():
        raise UsageWrong(f"there is no file {file}")
    if file.stat().st_size > LIMITS.file_bytes_max:
        raise ModelInvalid(f"{file} is bigger than a model may be ({LIMITS.file_bytes_max} bytes)")
    summary = summarise(file.read_bytes())
    show(asdict(summary), where.output, summary.text())
