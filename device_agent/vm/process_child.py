"""The child of a VM that is a process: reads its task once, then runs event after event until its input ends.

Rules of this module:

- It is run as a script without a search path (`python -S -P`) and imports what every interpreter has anyway: the same
  glue and the same table of modules as in an interpreter of the agent close it, and a hook refuses the same events.
- Emits, lines and messages are counted and cut here as in native/guest.cpp; time and memory are the parent's, but for
  the engine's, which its module counts.
- What it answers is flat frames of bytes, never objects: a guest may have written them.
"""

# It stands in for what native/guest.cpp does, on types that the glue has taken apart.
# mypy: ignore-errors
import marshal
import posix
import sys
import time

IN, OUT = 0, 1
LINE_BYTES_MAX = 4096
MESSAGE_BYTES_MAX = 600
FRAMES_TOLD = 3
# As in native/audit.cpp; tests/conformance holds the two to each other.
ALLOWED = frozenset({
    "import", "exec", "compile", "marshal.loads", "marshal.load", "object.__getattr__", "object.__setattr__",
    "object.__delattr__", "sys._getframe", "sys._getframemodulename", "builtins.id", "code.__new__",
    "function.__new__", "array.__new__", "gc.get_objects", "gc.get_referrers", "gc.get_referents",
    "sys.unraisablehook", "sys.excepthook", "time.sleep", "cpython.PyInterpreterState_New",
    "cpython.PyInterpreterState_Clear", "cpython._PySys_ClearAuditHooks",
})  # fmt: skip
REFUSED = {
    "open": "a task opens no files: load models with shoal_task.model.load, hand results on with shoal_task.emit",
    "socket.": "a task has no network: hand results on with shoal_task.emit",
    "subprocess.": "a task starts no processes",
    "os.": "a task does not reach the system: it gets events, and hands results on with shoal_task.emit",
    "ctypes.": "a task loads no libraries: compute with shoal_task.tensor",
    "signal.": "a task handles no signals",
    "_thread.": "a task starts no threads: its limits.concurrency in task.toml runs events side by side",
}
# What a new interpreter has when the glue is done with it; a process has the rest of its start, too.
KEPT = frozenset({
    "sys", "builtins", "_frozen_importlib", "_imp", "_thread", "_warnings", "_weakref", "_io", "gc", "_codecs",
    "_shoal",
})  # fmt: skip
OTHERWISE = "a task may not do that; shoal_task has what it may"


class Killed(BaseException):
    """Never raised here: a process is killed as a whole."""


class LimitReached(BaseException):
    """The run wrote more than it may."""


class _Side:
    """What `_shoal` gives a guest, and what one run wrote."""

    def __init__(self, task: dict) -> None:
        self.task = task
        self.running = False
        self.trusted = True
        self.begin()

    def begin(self) -> None:
        self.emits, self.emit_bytes, self.lines, self.line = [], 0, 0, ""
        self.past_output = self.past_logs = False
        self.planned_ns = 0  # not the run's time

    def module(self) -> object:
        made = type(sys)("_shoal")
        for name in ("emit", "log", "write", "ignore", "ask", "plan", "resource", "find", "code"):
            setattr(made, name, getattr(self, name))
        made.sleep, made.Killed, made.LimitReached = wait, Killed, LimitReached
        return made

    def emit(self, topic: str, payload: bytes) -> None:
        payload = bytes(payload)
        if not self.running:
            raise RuntimeError("emit only while an event is handled, not while the module loads")
        if topic not in self.task["topics"]:
            raise PermissionError(
                f"topic '{topic}' is not permitted; add it to permissions.emit in task.toml"
            )
        self.emit_bytes += len(topic.encode()) + len(payload)
        if self.emit_bytes > self.task["output_bytes"]:
            self.past_output = True
            raise LimitReached("output_bytes is reached")
        self.emits.append((topic, payload))

    def log(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"log takes a str, not {type(text).__name__}")
        self.add(text)

    def write(self, text: str) -> int:
        *whole, self.line = (self.line + text).split("\n")
        for line in whole:
            self.add(line)
        return len(text)

    def add(self, line: str) -> None:
        if self.lines >= self.task["log_lines"]:
            self.past_logs = True
            raise LimitReached("log_lines is reached")
        self.lines += 1
        send(b"L", cut(line, LINE_BYTES_MAX))

    def end_line(self) -> None:
        if self.line and self.lines < self.task["log_lines"]:
            send(b"L", cut(self.line, LINE_BYTES_MAX))
        self.line = ""

    def ignore(self, *_: object) -> None:
        return None

    def ask(self, what: str, data: bytes) -> bytes:
        if not self.running:
            raise RuntimeError("ask only while an event is handled, not while the module loads")
        return self.answered(b"A", what, data)

    def plan(self, path: str, data: bytes) -> bytes:
        began = clock()
        try:
            return self.answered(b"P", path, data)
        finally:
            self.planned_ns += clock() - began

    def answered(self, kind: bytes, what: str, data: bytes) -> bytes:
        send(kind, what.encode(), bytes(data))
        said = frame()
        if said[:1] != b"1":
            raise ValueError(said[1:].decode())
        return said[1:]

    def resource(self, path: str) -> str:
        found = self.task["resources"].get(path)
        if found is None:
            raise FileNotFoundError(
                f"the bundle has no resource '{path}'; name it in [[resources]] of task.toml"
            )
        return found

    def find(self, name: str) -> tuple | None:
        modules = self.task["modules"]
        if name in modules:
            package = any(other.startswith(f"{name}.") for other in modules)
            return ("python", package, "")
        row = self.task["table"].get(name)
        if row is None:
            return None
        kind, package, body = row
        return (kind, package, body.decode() if kind == "extension" else "")

    def code(self, name: str) -> object:
        own = self.task["modules"].get(name)
        return marshal.loads(self.task["table"][name][2] if own is None else own)

    def audit(self, event: str, _args: tuple) -> None:
        if self.trusted or event in ALLOWED:
            return
        for prefix, instead in REFUSED.items():
            if event.startswith(prefix):
                raise PermissionError(f"{event}: {instead}")
        raise PermissionError(f"{event}: {OTHERWISE}")


def cut(text: str, bytes_max: int) -> bytes:
    data = text.encode("utf-8", "replace")
    return data if len(data) <= bytes_max else data[:bytes_max].decode("utf-8", "ignore").encode()


def describe(error: BaseException) -> str:
    said = str(error)
    text = type(error).__name__ + (f": {said}" if said else "")
    text = cut(text, MESSAGE_BYTES_MAX // 2).decode()
    frames, at = [], error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        if code.co_filename not in ("<shoal>", __file__):
            frames.append(f"{code.co_filename}:{at.tb_lineno} in {code.co_qualname}")
        at = at.tb_next
    told = f" ({', '.join(frames[-FRAMES_TOLD:])})" if frames else ""
    return cut(text + told, MESSAGE_BYTES_MAX).decode()


def receive(count: int, read: object = posix.read) -> bytes:
    data = b""
    while len(data) < count:
        part = read(IN, min(count - len(data), 1 << 20))
        if not part:
            leave(0)
        data += part
    return data


def frame() -> bytes:
    return receive(int.from_bytes(receive(8), "little"))


def send(*fields: bytes, write: object = posix.write) -> None:
    body = b"".join(len(field).to_bytes(4, "little") + field for field in fields)
    data = memoryview(len(body).to_bytes(4, "little") + body)
    while data:
        data = data[write(OUT, data) :]


def judge(side: _Side, act: object, on_error: str) -> tuple[str, str, bool, int]:
    began = clock()
    outcome, message, spent = "ok", "", False
    try:
        act()
    except MemoryError as error:
        outcome, message, spent = "MEMORY_LIMIT", describe(error), True
    except BaseException as error:  # whatever the task raises is its outcome
        outcome, message = on_error, describe(error)
    if side.past_output:
        bytes_max = side.task["output_bytes"]
        message = f"the run emitted more than {bytes_max} bytes; emit less or raise output_bytes"
        outcome = "OUTPUT_LIMIT"
    if side.past_logs:
        lines = side.task["log_lines"]
        message = f"the run wrote more than {lines} lines; log less or raise log_lines"
        outcome = "LOG_LIMIT"
    side.end_line()
    return outcome, message, spent, (clock() - began - side.planned_ns) // 1_000


def answer(side: _Side, judged: tuple[str, str, bool, int]) -> None:
    outcome, message, spent, wall_us = judged
    emits = side.emits if outcome == "ok" else []
    side.begin()
    flat = [part for topic, payload in emits for part in (topic.encode(), payload)]
    spent_field = b"1" if spent else b""
    engine_bytes = side.engine.engine_bytes()[1]
    send(
        b"R", outcome.encode(), message.encode("utf-8", "replace"), spent_field, str(wall_us).encode(),
        str(engine_bytes).encode(), *flat,
    )  # fmt: skip


def bounded_engine(task: dict) -> object:
    name = "device_agent.engine._core"
    origin = task["table"][name][2].decode()
    spec = sys.modules["_frozen_importlib"].ModuleSpec(name, None, origin=origin)
    engine = sys.modules["_imp"].create_dynamic(spec)
    sys.modules["_imp"].exec_dynamic(engine)
    for level, *costs in task["costs"]:
        engine.set_costs(level, *costs)
    engine.bound_process(task["engine_bytes"], task["engine_status"])
    return engine


def serve() -> None:
    task = marshal.loads(frame())
    side = _Side(task)
    side.engine = bounded_engine(task)
    sys.addaudithook(side.audit)
    sys.modules["_shoal"] = side.module()
    names = {"__builtins__": __builtins__}
    exec(marshal.loads(task["glue"]), names)
    for name in sys.modules.keys() - KEPT:  # the task imports its own, which the glue closes
        del sys.modules[name]
    sys.modules["__main__"] = type(sys)("__main__")  # this script is not there for the task to find
    side.trusted = False
    handlers = []
    judged = judge(side, lambda: handlers.append(names["bind"](task["entry"])), "TASK_INVALID")
    answer(side, judged)
    while judged[0] == "ok" or handlers:
        event = frame()
        side.running = True
        judged = judge(side, lambda event=event: handlers[0](event), "TASK_ERROR")
        side.running = False
        answer(side, judged)


clock, leave = time.monotonic_ns, posix._exit
wait = time.sleep  # noqa: TID251 - what a guest asked for; the parent kills it meanwhile
if __name__ == "__main__":
    serve()
