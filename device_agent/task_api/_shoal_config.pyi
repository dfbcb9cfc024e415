# What [config] of task.toml says, as a module that the host puts into a VM (device_agent/vm/task_spec.py).
VALUES: dict[str, str | int | float | bool]
