"""A task's own keys and values, kept on the device from run to run and from version to version.

    from shoal_task import kv

    seen = int(kv.get("seen") or b"0") + 1
    kv.put("seen", str(seen).encode())

Rules of this module:

- A change counts when, and only when, the run ends well, together with what it emitted; the run itself sees it at once.
- Keys are text of at most 256 bytes, values at most 64 KiB; a device keeps 1 MiB of a task's values.
- Runs side by side (limits.concurrency above 1) do not wait for each other: the one that ends last is kept.
"""

TYPE_CHECKING = False  # not from typing: its import would double the time that a VM takes to load

from shoal_task.border import ask  # noqa: E402 - after the flag that stands for typing's

if TYPE_CHECKING:
    from collections.abc import Buffer


def get(key: str) -> bytes | None:
    """The value, or None."""
    found = ask("kv.get", key.encode())
    return found[1:] if found else None


def put(key: str, value: "Buffer") -> None:
    """Keeps a value.

    Raises:
        ValueError: the key or the value is too long, or the task keeps too much already.
    """
    name = key.encode()
    ask("kv.put", len(name).to_bytes(2, "little") + name + bytes(value))


def delete(key: str) -> None:
    """Forgets a key, if it is there."""
    ask("kv.delete", key.encode())


def keys(prefix: str = "") -> list[str]:
    """The keys that begin with `prefix`, in order."""
    found = ask("kv.keys", prefix.encode()).decode()
    return found.split("\0") if found else []
