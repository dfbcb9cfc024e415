"""`_frozen_importlib_external` of a VM: a guest has no search path, so it needs no finder of files.

Rules of this module:

- The garbage collector stays off until the boot is done: what is made until then lives as long as the VM.
"""

# It stands in for a module that stubs describe as whole, so types cannot help here.
# mypy: ignore-errors
import gc

gc.disable()


def _install(_bootstrap: object) -> None:
    """CPython calls it to add its finder of files: there is none."""


def _bless_my_loader(names: dict[str, object]) -> object:
    """The warnings machinery asks it for a module's loader."""
    return names.get("__loader__")
