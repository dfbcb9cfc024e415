"""Asks the VMs of a pool, again and again, where they are: the samples of a flame graph.

Rules of this module:

- One thread, beside the event loop; it waits for the guest's GIL and slows a run by what a switch costs.
- A VM that cannot be asked (a process of its own) gives no samples.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from device_agent.vm.interface import Vm

IMPORT_SYSTEM = "<frozen importlib."  # ten frames for each import, of no use to an author


@contextmanager
def sampling(vms: Callable[[], Iterable[Vm]], every_ms: int) -> Iterator[Counter[tuple[str, ...]]]:
    """Counts stacks inside the `with`; read the counter after it."""
    stacks: Counter[tuple[str, ...]] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(every_ms / 1_000):
            for vm in list(vms()):
                frames = vm.sample()
                stack = tuple(frame for frame in frames if not frame.startswith(IMPORT_SYSTEM))
                if stack:
                    stacks[stack] += 1

    thread = threading.Thread(target=ask, name="sampler")
    thread.start()
    try:
        yield stacks
    finally:
        stop.set()
        thread.join()
