"""Compiled models: loaded once per process, their weights shared by all VMs."""

from device_agent.engine.errors import EngineError
from device_agent.engine.model import Model, load_model
from shoal_task.border import resource_path

__all__ = ["Model", "load"]


def load(path: str) -> Model:
    """Loads the bundle's resource `path`, a file made by `shoal model compile`.

    Raises:
        FileNotFoundError: task.toml names no such resource.
        ValueError: the file is no compiled model, or one for another engine.
    """
    try:
        return load_model(resource_path(path))
    except EngineError as error:
        raise ValueError(str(error)) from error
