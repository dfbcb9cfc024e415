"""Compiled models: loaded once per process, their weights shared by all VMs."""

from device_agent.engine.errors import EngineError
from device_agent.engine.model import Model, load_model, parse_model
from shoal_task.border import planner_of, resource_path

TYPE_CHECKING = False  # not from typing: its import would double the time that a VM takes to load

if TYPE_CHECKING:
    from collections.abc import Buffer

__all__ = ["Model", "load", "parse"]


def load(path: str, *, trials: int = 0) -> Model:
    """Loads the bundle's resource `path`, a file made by `shoal model compile`.

    Args:
        path: As task.toml names it.
        trials: Timed trials of algorithms that planning may take where the cost model is not sure; 0 trusts it alone.

    Raises:
        FileNotFoundError: task.toml names no such resource.
        ValueError: the file is no compiled model, or one for another engine; or trials are negative.
    """
    file = resource_path(path)
    try:
        return load_model(file, trials=trials, ask=planner_of(file))
    except EngineError as error:
        raise ValueError(str(error)) from error


def parse(data: "Buffer") -> Model:
    """A model from a file's bytes, such as a trainer makes; its weights are this VM's own.

    Raises:
        ValueError: the bytes are no compiled model, or one for another engine.
    """
    try:
        return parse_model(data, ask=planner_of(""))
    except EngineError as error:
        raise ValueError(str(error)) from error
