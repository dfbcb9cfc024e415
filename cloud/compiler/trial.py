"""A plan on trial: what does not fit together is found when compiling, not on a device.

Rules of this module:

- Only where every size of the inputs is known; and only up to where a plan hangs on what an input holds.
"""

from collections.abc import Mapping

from device_agent.engine.graph import Graph, Port
from device_agent.engine.ops import BY_NAME, OPEN_AXIS, OpClass
from device_agent.engine.plan.stage import Surroundings, plan_stage


class _HangsOnContents(Exception):
    """The plan would read an input."""


def try_plan(graph: Graph) -> None:
    """Plans the first stage of a graph whose inputs have fixed sizes.

    Raises:
        PlanError: operators do not fit together.
    """
    ports: Mapping[str, Port] = {port.name: port for port in graph.inputs}
    if any(port.shape is None or OPEN_AXIS in port.shape for port in graph.inputs):
        return
    if not graph.operators or BY_NAME[graph.operators[0].op].kind is OpClass.CONTROL:
        return

    def spec(name: str) -> tuple[int, tuple[int, ...]]:
        port = ports[name]
        assert port.dtype is not None
        assert port.shape is not None
        return port.dtype, port.shape

    def contents(name: str) -> bytes:
        raise _HangsOnContents(name)

    outputs = frozenset(port.name for port in graph.outputs)
    around = Surroundings(constants=graph.constants, spec=spec, contents=contents)
    try:
        plan_stage(graph.operators, 0, around, lambda _: outputs)
    except _HangsOnContents:
        return
