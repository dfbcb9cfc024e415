"""Compiled models: loaded once per process, their weights shared by all VMs."""

from device_agent.engine import _core
from shoal_task.border import resource_path

Model = _core.Model


def load(path: str) -> Model:
    """Loads the bundle's resource `path`, a file made by `shoal model compile`.

    Raises:
        FileNotFoundError: task.toml names no such resource.
        ValueError: the file is no compiled model, or one for another engine.
    """
    return _core.load_model(resource_path(path))
