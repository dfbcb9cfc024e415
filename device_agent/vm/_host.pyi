from collections.abc import Buffer
from typing import Literal, final

type _Row = tuple[
    int,  # VM
    Literal["ready", "done", "ended"],
    int,  # run
    str,  # outcome
    str,  # message
    tuple[tuple[str, bytes], ...],  # emits
    tuple[str, ...],  # logs
    int,  # wall_us
    bool,  # the VM takes no more runs
]

@final
class Vm:
    @property
    def id(self) -> int: ...
    @property
    def used_bytes(self) -> int: ...
    @property
    def peak_bytes(self) -> int: ...
    def submit(self, run: int, data: Buffer, /) -> bool: ...
    def cancel(self, run: int, /) -> None: ...
    def close(self) -> None: ...

@final
class Channel:
    def fileno(self) -> int: ...
    def take(self) -> list[_Row]: ...
    def create(
        self,
        *,
        entry: str,
        modules: dict[str, bytes],
        resources: dict[str, str],
        topics: tuple[str, ...],
        wall_ms: int,
        load_ms: int,
        memory_bytes: int,
        output_bytes: int,
        log_lines: int,
    ) -> Vm: ...

def install(grace_ms: int, /) -> None: ...
def installed() -> bool: ...
def set_modules(rows: list[tuple[str, str, bool, bytes]], glue: bytes, /) -> bool: ...
def freeze(rows: list[tuple[str, bytes, bool]], /) -> None: ...
def counters() -> dict[str, int]: ...
def drain(timeout_ms: int, /) -> int: ...
