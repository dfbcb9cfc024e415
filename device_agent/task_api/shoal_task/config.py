"""What [config] of task.toml says: numbers, text and switches that a task reads, the same for a version everywhere.

    from shoal_task import config

    THRESHOLD = config.get("threshold", 0.9)

Rules of this module:

- It is there while the module loads. A change of it is a new version of the task, as a change of the code is.
"""

from shoal_task.border import config_values

type Value = str | int | float | bool


def get[V: Value](name: str, default: V) -> V:
    """The value of `name`, or `default` where task.toml says nothing.

    Raises:
        TypeError: task.toml gives it another type than the default has.
    """
    value = config_values().get(name, default)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        wanted, found = type(default).__name__, type(value).__name__
        raise TypeError(f"config.{name} is {found}; the task takes {wanted}: mend it in task.toml")
    return value


def names() -> list[str]:
    """What task.toml sets, in order."""
    return sorted(config_values())
