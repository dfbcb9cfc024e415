"""Every limit of the compiler, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerSettings:
    """Limits of what is compiled.

    Attributes:
        onnx_bytes_max: Bytes of an ONNX file.
        nodes_max: Nodes of a graph.
        folded_bytes_max: Bytes of one constant that folding makes.
        opset_min: Oldest ONNX operator set that is read.
        function_rounds_max: Rounds of replacing ONNX functions by their bodies, which may hold functions again.
        narrowed_elements_min: Elements of the smallest constant that is stored in fewer bits.
        reported_max: Unsupported operators that an error names one by one.
    """

    onnx_bytes_max: int = 1 << 30
    nodes_max: int = 50_000
    folded_bytes_max: int = 256 << 20
    opset_min: int = 6
    function_rounds_max: int = 8
    reported_max: int = 50
    narrowed_elements_min: int = 256


LIMITS = CompilerSettings()
