"""ONNX's own functions: an operator that the op set lacks but ONNX defines by others becomes those others.

Rules of this module:

- Only what has no lowering of ours is expanded, round by round, until nothing is left. A body may hang on the types of
  its inputs, so types are inferred anew each round.
- Functions that a model brings along are expanded always, by the ONNX project's inliner.
- A body's names are new ones; attributes that the node leaves out have the schema's defaults.
"""

from collections.abc import Callable, Iterator

import onnx
from onnx import helper, inliner, shape_inference

from cloud.compiler.settings import LIMITS


def expanded(model: onnx.ModelProto, is_ours: Callable[[onnx.NodeProto], bool]) -> onnx.ModelProto:
    """The model without functions that are not `is_ours`.

    Raises:
        ValueError, RuntimeError: a function cannot be expanded, as the package says.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    for _ in range(LIMITS.function_rounds_max):
        if not any(_schema(node, model) for node in nodes_of(model.graph) if not is_ours(node)):
            break
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        model = onnx.ModelProto()
        model.CopyFrom(inferred)
        _expand_graph(model.graph, _Types(model.graph), model, is_ours)
    return model


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of branches and bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def _version(node: onnx.NodeProto, model: onnx.ModelProto) -> int:
    wanted = "" if node.domain == "ai.onnx" else node.domain
    found = (o.version for o in model.opset_import if o.domain.replace("ai.onnx", "") == wanted)
    if wanted:
        found = (o.version for o in model.opset_import if o.domain == wanted)
    return int(next(found, 1))


def _schema(node: onnx.NodeProto, model: onnx.ModelProto) -> onnx.defs.OpSchema | None:
    """The schema of a node whose operator is a function."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema = onnx.defs.get_schema(node.op_type, _version(node, model), domain)
    except onnx.defs.SchemaError:
        return None
    versions = schema.function_opset_versions or schema.context_dependent_function_opset_versions  # type: ignore[attr-defined]  # the package's stub lacks them
    return schema if versions else None


class _Types:
    """Types of a graph's tensors by name, those of the graph around it too."""

    def __init__(self, graph: onnx.GraphProto, outer: "_Types | None" = None) -> None:
        self._outer = outer
        self._types = {
            value.name: value.type for value in (*graph.value_info, *graph.output, *graph.input)
        }
        for tensor in graph.initializer:
            kind = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            self._types.setdefault(tensor.name, kind)

    def of(self, name: str) -> onnx.TypeProto:
        """The type, empty when it is not known."""
        if name in self._types:
            return self._types[name]
        return onnx.TypeProto() if self._outer is None else self._outer.of(name)


def _expand_graph(
    graph: onnx.GraphProto,
    types: _Types,
    model: onnx.ModelProto,
    is_ours: Callable[[onnx.NodeProto], bool],
) -> None:
    nodes = list(graph.node)
    del graph.node[:]
    for index, node in enumerate(nodes):
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _expand_graph(attribute.g, _Types(attribute.g, types), model, is_ours)
        schema = None if is_ours(node) else _schema(node, model)
        if schema is None:
            graph.node.append(node)
        else:
            label = node.name or f"{node.op_type}#{index}({','.join(node.output)})"
            graph.node.extend(_body(node, schema, types, model, label))


def _body(
    node: onnx.NodeProto,
    schema: onnx.defs.OpSchema,
    types: _Types,
    model: onnx.ModelProto,
    label: str,
) -> list[onnx.NodeProto]:
    """The nodes of a function's body in place of the node."""
    whole = onnx.NodeProto()
    whole.CopyFrom(node)
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            whole.attribute.append(attribute.default_value)
    function = _function(whole, schema, types, _version(node, model))
    names = dict(zip(function.input, whole.input, strict=False))
    names.update((name, "") for name in function.input if name not in names)
    names.update((a, b) for a, b in zip(function.output, whole.output, strict=False) if b)
    values = {attribute.name: attribute for attribute in whole.attribute}
    out = []
    for inner in function.node:
        made = onnx.NodeProto()
        made.CopyFrom(inner)
        _rename(made, names, values, label)
        out.append(made)
    return out


def _function(
    node: onnx.NodeProto, schema: onnx.defs.OpSchema, types: _Types, version: int
) -> onnx.FunctionProto:
    """The body for the newest operator set that is not newer than the model's."""
    proto = onnx.FunctionProto()
    by_context = schema.context_dependent_function_opset_versions  # type: ignore[attr-defined]  # as above
    plain = schema.function_opset_versions  # type: ignore[attr-defined]  # as above
    versions = [v for v in (plain or by_context) if v <= version] or list(plain or by_context)[:1]
    if plain:
        proto.ParseFromString(schema.get_function_with_opset_version(versions[-1]))  # type: ignore[attr-defined]  # as above
        return proto
    kinds = [types.of(name).SerializeToString() for name in node.input]
    data = schema.get_context_dependent_function_with_opset_version(  # type: ignore[attr-defined]  # as above
        versions[-1], node.SerializeToString(), kinds
    )
    proto.ParseFromString(data)
    return proto


def _rename(
    node: onnx.NodeProto,
    names: dict[str, str],
    attributes: dict[str, onnx.AttributeProto],
    label: str,
) -> None:
    """Names of the body as names of the model; attributes that refer to the function's take its values."""
    for names_of in (node.input, node.output):
        for i, name in enumerate(names_of):
            if name:
                names_of[i] = names.setdefault(name, f"{label}/{name}")
    kept = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                _rename(inner, names, attributes, label)
            for value in (*attribute.g.input, *attribute.g.output):
                value.name = names.setdefault(value.name, f"{label}/{value.name}")
        if not attribute.ref_attr_name:
            kept.append(attribute)
        elif attribute.ref_attr_name in attributes:
            own = onnx.AttributeProto()
            own.CopyFrom(attributes[attribute.ref_attr_name])
            own.name = attribute.name
            kept.append(own)
    copies = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in kept]
    del node.attribute[:]
    node.attribute.extend(copies)
