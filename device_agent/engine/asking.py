"""How a VM asks another to plan for it: requests and answers as bytes.

Rules of this module:

- A line of JSON, then bytes that it says the lengths of. What is not of this form fails in who sent it, or in the VM
  that plans, never in a host.
- It is all that a task's VM loads of planning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from device_agent.engine.plan.planned import Plan, PlanError, Stage

REQUEST, TOPIC = (
    "shoal.request",
    "plan",
)  # how the VM that plans asks for a request, and hands its answer on

# Operators that hold a part, and the attribute that is it, from outside in.
type Address = tuple[tuple[int, str], ...]
type Ask = Callable[[bytes], bytes]
type Spec = tuple[str, int, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be planned of a model that both sides can read.

    Attributes:
        address: The part of the model.
        at: The first operator of the stage.
        level: The kernels to plan for.
        threads: That run them.
        trials: Timed trials that planning may take.
        specs: Name, dtype code and shape of every tensor that is there.
        contents: What some of them hold.
        training: What a step of training trains, as device_agent.engine.train.planning says it; None plans a run.
        file: The model's bytes, where it lies in no file that both sides can read.
    """

    address: Address
    at: int
    level: str
    threads: int
    trials: int
    specs: Sequence[Spec]
    contents: Mapping[str, bytes] = field(default_factory=dict)
    training: Sequence[Any] | None = None
    file: bytes | memoryview = field(default=b"", repr=False)

    def to_bytes(self) -> bytes:
        """Its binary form."""
        lengths = [(name, len(data)) for name, data in self.contents.items()]
        line = [
            self.address, self.at, self.level, self.threads, self.trials, self.specs, lengths, self.training,
        ]  # fmt: skip
        return _framed(line, b"".join((*self.contents.values(), self.file)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Request:
        """Reads one.

        Raises:
            ValueError: it is none.
        """
        (address, at, level, threads, trials, specs, lengths, training), rest = _read(data)
        if not all(type(number) is int for _, dtype, shape in specs for number in (dtype, *shape)):
            raise ValueError("a request's shapes are whole numbers")
        contents, start = {}, 0
        for name, length in lengths:
            contents[name] = rest[start : start + length]
            start += length
        return cls(
            address=tuple((place, name) for place, name in address),
            at=at,
            level=level,
            threads=threads,
            trials=trials,
            specs=[(name, dtype, tuple(shape)) for name, dtype, shape in specs],
            contents=contents,
            training=training,
            file=rest[start:],
        )


def ask_stage(ask: Ask, request: Request, contents: Callable[[str], bytes]) -> Stage:
    """The stage that somebody else plans.

    Args:
        ask: Takes a request's bytes and gives an answer's.
        request: Without contents.
        contents: What a tensor holds, for those that the plan hangs on.

    Raises:
        PlanError: operators do not fit the shapes that they are given.
        ValueError: nobody plans here.
    """
    known: dict[str, bytes] = {}
    while True:
        (kind, *said), words = _read(ask(replace(request, contents=known).to_bytes()))
        if kind == "need":
            (name,) = said
            known[name] = contents(name)
        elif kind == "refused":
            raise PlanError(said[0])
        else:
            plan, inputs, outputs, end, read = said
            return Stage(
                plan=Plan(words=words, **plan),
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                end=end,
                read={name: known[name] for name in read},
            )


def answer_of(stage: Stage) -> bytes:
    """A stage as an answer."""
    plan = {name: getattr(stage.plan, name) for name in Plan.__slots__ if name != "words"}
    said = ["stage", plan, stage.inputs, stage.outputs, stage.end, list(stage.read)]
    return _framed(said, stage.plan.words)


def need_of(name: str) -> bytes:
    """The answer that asks for what a tensor holds."""
    return _framed(["need", name])


def refusal_of(why: str) -> bytes:
    """The answer that says why there is no plan."""
    return _framed(["refused", why])


def _framed(line: object, rest: bytes = b"") -> bytes:
    return json.dumps(line).encode() + b"\n" + rest


def _read(data: bytes) -> tuple[Any, bytes]:
    line, _, rest = data.partition(b"\n")
    return json.loads(line), rest
