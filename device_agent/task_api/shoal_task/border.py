"""The border between a task and whoever runs it: the VM's host inside a VM, a collector outside.

Rules of this module:

- A task never sees which side it is on; limits and permissions are the host's.
"""

TYPE_CHECKING = False  # not from typing: its import would double the time that a VM takes to load

try:
    import _shoal as _side
except ImportError:
    from shoal_task import testing as _side  # type: ignore[no-redef]  # the same functions, outside a VM

if TYPE_CHECKING:
    from collections.abc import Buffer, Callable


def emit(topic: str, payload: "Buffer") -> None:
    """Hands a message on when, and only when, the run ends well.

    Args:
        topic: One that `permissions.emit` in task.toml names.
        payload: Its bytes.

    Raises:
        PermissionError: the topic is not permitted.
        RuntimeError: called while the module loads, when there is no event yet.
    """
    _side.emit(topic, payload)


def log(text: str) -> None:
    """Writes a line to the run's log; print does the same."""
    _side.log(text)


def ask(what: str, data: "Buffer") -> bytes:
    """Asks the host; for the modules of this package.

    Raises:
        ValueError: the host refuses, and says why.
        RuntimeError: called while the module loads, when there is no event yet.
    """
    return _side.ask(what, data)


def planner_of(path: str) -> "Callable[[bytes], bytes] | None":
    """Who plans the model in a file, at the host's expense; None outside a VM, where it is planned here.

    With no path the request holds the model.

    The function raises ValueError when the host refuses.
    """
    plan = getattr(_side, "plan", None)
    return None if plan is None else lambda request: plan(path, request)


def config_values() -> dict[str, str | int | float | bool]:
    """What [config] of task.toml says; for shoal_task.config."""
    try:
        import _shoal_config
    except ImportError:
        return dict(getattr(_side, "config", dict)())
    return _shoal_config.VALUES


def resource_path(path: str) -> str:
    """Where the bundle's resource `path` lies on this device; for loaders of this package.

    Raises:
        FileNotFoundError: task.toml names no such resource.
    """
    return _side.resource(path)
