"""Every limit of a compiled model, with its unit. The C++ reader keeps the same ones (native/model/format.h)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Limits of a model file.

    Attributes:
        file_bytes_max: Bytes of a whole file.
        tensors_max: Tensors in a graph: inputs, weights and results.
        operators_max: Operators in a graph.
        indices_max: Uses of a tensor by an operator, an input or an output, all together.
        attributes_max: Attribute words of all operators together.
        names_bytes_max: UTF-8 bytes of all names together.
        name_bytes_max: UTF-8 bytes of one name.
        operator_inputs_max: Inputs of one operator.
        rank_max: Axes of a tensor.
        tensor_bytes_max: Bytes of one tensor.
    """

    file_bytes_max: int = 2**31
    tensors_max: int = 65_536
    operators_max: int = 65_536
    indices_max: int = 2**20
    attributes_max: int = 2**20
    names_bytes_max: int = 2**24
    name_bytes_max: int = 65_535
    operator_inputs_max: int = 64
    rank_max: int = 6
    tensor_bytes_max: int = 2**31


LIMITS = EngineSettings()
