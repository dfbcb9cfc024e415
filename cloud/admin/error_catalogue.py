"""Every error that Shoal raises on purpose, by code: for `shoal explain`, and for the test of the documents.

Rules of this module:

- It imports each package's errors.py and nothing else of it; a class counts when it names a code of its own.
"""

import importlib
import pkgutil

import cloud
import device_agent
from device_agent.errors import ShoalError


def every_error() -> dict[str, type[ShoalError]]:
    """The catalogue; a code that two unrelated classes share is a fault of ours."""
    for package in (cloud, device_agent):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.rpartition(".")[2].endswith("errors"):
                importlib.import_module(module.name)
    found: dict[str, type[ShoalError]] = {}
    queue = [ShoalError]
    while queue:
        error = queue.pop(0)
        queue.extend(error.__subclasses__())
        if "code" in error.__dict__ and error.__module__.startswith(("cloud.", "device_agent.")):
            known = found.setdefault(error.code, error)
            assert issubclass(error, known), f"{error} and {known} share {error.code}"
    return found
