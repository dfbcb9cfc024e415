"""Whether a device can run a task: its `requires` against what the device said of itself. Pure.

Rules of this module:

- What is missing is told in words, because operators read it; nothing missing is an empty tuple.
- A version that cannot be read fits no comparison: a device is never sent a task on a guess.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from device_agent.tasks.manifest import Requires

_COMPARISON = re.compile(r"(==|!=|>=|<=|>|<)([0-9.]+)")
# A pre-release ("0.2.0rc1", "1.0.dev3") or build ("+abc") suffix does not change what the numbers promise.
_NUMBERS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}")
_OPERATORS: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_NUMBERS_COUNT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a device offers; the fields are those of DeviceFacts.

    Attributes:
        agent_version: e.g. "0.1.0".
        guest_api: Newest guest API.
        op_set: Newest op set; it runs models of older ones too.
        python_tag: e.g. "cpython-313-3571".
        cpu_features: e.g. {"avx2"}.
    """

    agent_version: str
    guest_api: int
    op_set: int
    python_tag: str
    cpu_features: frozenset[str] = frozenset()


def missing(requires: Requires, capabilities: Capabilities) -> tuple[str, ...]:
    """What the device lacks for the task, one sentence each; empty when it fits."""
    has = capabilities
    lacks: list[str] = []
    if not fits_version(has.agent_version, requires.agent):
        lacks.append(f"agent {has.agent_version or 'unknown'} is not {requires.agent}")
    if requires.guest_api > has.guest_api:
        lacks.append(f"guest API {has.guest_api} is older than {requires.guest_api}")
    if requires.op_set > has.op_set:
        lacks.append(f"op set {has.op_set} is older than {requires.op_set}")
    if requires.python and not has.python_tag.startswith(f"{requires.python}-"):
        lacks.append(f"Python {has.python_tag or 'unknown'} is not {requires.python}")
    absent = sorted(set(requires.cpu_features) - has.cpu_features)
    if absent:
        lacks.append(f"CPU features {', '.join(absent)} are missing")
    return tuple(lacks)


def fits_version(version: str, comparisons: str) -> bool:
    """Whether a dotted version passes every comparison of "…,…"; "" is passed by all."""
    if not comparisons:
        return True
    numbers = _numbers(version)
    if numbers is None:
        return False
    return all(_passes(numbers, comparison) for comparison in comparisons.split(","))


def _passes(numbers: tuple[int, ...], comparison: str) -> bool:
    parsed = _COMPARISON.fullmatch(comparison.strip())
    wanted = _numbers(parsed[2]) if parsed else None
    return parsed is not None and wanted is not None and _OPERATORS[parsed[1]](numbers, wanted)


def _numbers(version: str) -> tuple[int, ...] | None:
    matched = _NUMBERS.match(version)
    if matched is None:
        return None
    numbers = [int(part) for part in matched[0].split(".")]
    return tuple(numbers + [0] * (_NUMBERS_COUNT - len(numbers)))
