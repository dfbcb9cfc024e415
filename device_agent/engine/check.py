"""Checks a graph against the op set: what every file, and every graph before it is written, must keep to.

Rules of this module:

- The op set's table says what is right; nothing here knows an operator by name.
- A message names the operator and what is wrong with it.
"""

from collections.abc import Iterable, Set

from device_agent.engine.errors import ModelInvalid, ModelUnsupported
from device_agent.engine.graph import Attribute, Graph, Operator
from device_agent.engine.ops import BY_NAME, OpRow
from device_agent.engine.settings import LIMITS

_INT_MAX = 2**63


def check_graph(graph: Graph, op_set: int) -> None:
    """Refuses a graph that breaks a rule.

    Raises:
        ModelInvalid: a name, a count, an attribute or an order is wrong.
        ModelUnsupported: the op set has no such operator.
    """
    if not graph.outputs:
        raise ModelInvalid("the model has no output")
    for port in graph.inputs:
        if port.shape is None or port.dtype is None:
            raise ModelInvalid(
                f"dtype or number of axes of input '{_shown(port.name)}' are not known"
            )
    _check_part(graph, op_set, frozenset(graph.constants), 0)


def _check_part(graph: Graph, op_set: int, outer: Set[str], depth: int) -> None:
    if depth > LIMITS.depth_max:
        raise ModelInvalid("the model's parts lie too deep in each other")
    if len(graph.operators) > LIMITS.operators_max:
        raise ModelInvalid(f"a graph has at most {LIMITS.operators_max} operators")
    seen = set(outer)
    for port in graph.inputs:
        _define(port.name, seen, outer if depth else frozenset())
    for operator in graph.operators:
        _check_operator(operator, op_set, seen, depth)
        for name in operator.outputs:
            if name != "":
                _define(name, seen, frozenset())
    for port in graph.outputs:
        if type(port.name) is not str or port.name not in seen:
            raise ModelInvalid(f"output '{_shown(port.name)}' is never made")


def _shown(name: object) -> str:
    return str(name)[:80]


def _define(name: object, seen: set[str], hidden: Set[str]) -> None:
    """A name is given once; a part's input may hide one of the graph around it."""
    if type(name) is not str or not 0 < len(name) <= LIMITS.name_bytes_max:
        raise ModelInvalid("a tensor's name is no name")
    if name in seen and name not in hidden:
        raise ModelInvalid(f"'{_shown(name)}' is made twice")
    seen.add(name)


def _check_operator(operator: Operator, op_set: int, seen: Set[str], depth: int) -> None:
    row = BY_NAME.get(operator.op) if type(operator.op) is str else None
    if row is None or row.since > op_set:
        raise ModelUnsupported(
            f"the model needs operator '{_shown(operator.op)}', which op set {op_set} lacks"
        )
    if not row.inputs_min <= len(operator.inputs) <= row.inputs_max:
        raise ModelInvalid(f"{row.name} has {len(operator.inputs)} inputs")
    if not 1 <= len(operator.outputs) <= row.outputs_max:
        raise ModelInvalid(f"{row.name} has {len(operator.outputs)} outputs")
    for place, name in enumerate(operator.inputs):
        if name == "" and place >= row.inputs_min:
            continue
        if type(name) is not str or name not in seen:
            raise ModelInvalid(f"{row.name} uses '{_shown(name)}', which was not made yet")
    _check_attributes(operator, row, op_set, seen, depth)


def _check_attributes(
    operator: Operator, row: OpRow, op_set: int, seen: Set[str], depth: int
) -> None:
    kinds = attribute_kinds(row)
    for name, value in operator.attributes.items():
        kind = kinds.get(name)
        if kind is None or not _is(value, kind):
            raise ModelInvalid(f"{row.name} has a wrong attribute '{_shown(name)}'")
        if isinstance(value, Graph):
            _check_part(value, op_set, seen, depth + 1)


def _is(value: Attribute, kind: str) -> bool:
    match kind:
        case "int":
            return type(value) is int and -_INT_MAX <= value < _INT_MAX
        case "float":
            return type(value) in (int, float)
        case "text":
            return type(value) is str
        case "graph":
            return isinstance(value, Graph)
        case _:
            each = kind.removesuffix("s")
            return isinstance(value, tuple) and _all(value, each)


def _all(values: Iterable[Attribute], kind: str) -> bool:
    return all(_is(value, kind) for value in values)


_KINDS: dict[str, dict[str, str]] = {}


def attribute_kinds(row: OpRow) -> dict[str, str]:
    """Kind of each attribute of an operator, by name."""
    if row.name not in _KINDS:
        parts = (part.partition(":") for part in row.attributes.split())
        _KINDS[row.name] = {name: rest.partition("=")[0] for name, _, rest in parts}
    return _KINDS[row.name]
