"""Boots a VM: runs once in each new interpreter, before any code of the task, and is never imported outside one.

Rules of this module:

- It imports what every interpreter has anyway; nothing here reads a file. What a task may never need (posix, time, the
  real `io` and codecs) is made when it is first imported: a VM is made in half the time without it.
- It returns to the host two functions, `bind` and `teardown`. All that limits a run is in the host, out of the task's
  reach; what is closed here is closed so that tasks do not harm their neighbours by accident.
- The file system, the process and the switches of the interpreter are taken away by name; what is left of `posix` is an
  allow-list.
"""

# It takes apart what stubs describe as whole, so types cannot help here.
# mypy: ignore-errors
import _codecs
import _frozen_importlib
import _imp
import _io
import _thread
import builtins
import gc
import sys

import _shoal

ModuleType = type(sys)
SimpleNamespace = type(sys.implementation)
_POSIX_KEPT = (
    "DirEntry",
    "cpu_count",
    "error",
    "fsencode",
    "fspath",
    "getpid",
    "get_terminal_size",
    "stat_result",
    "statvfs_result",
    "strerror",
    "terminal_size",
    "times_result",
    "uname_result",
    "urandom",
    "_exit",
)
_SYS_CLOSED = (
    "_current_exceptions",
    "_current_frames",
    "_debugmallocstats",
    "_setprofileallthreads",
    "_settraceallthreads",
    "activate_stack_trampoline",
    "addaudithook",
    "breakpointhook",
    "call_tracing",
    "monitoring",
    "setdlopenflags",
    "setprofile",
    "setrecursionlimit",
    "setswitchinterval",
    "settrace",
)
# A VM has one thread, so what is left here never waits for another; interrupt_main would reach the agent's main thread.
_THREAD_KEPT = ("RLock", "TIMEOUT_MAX", "_count", "_local", "error", "get_ident", "get_native_id")
# The clock and its zone are the whole machine's and the whole process's; the last trusts any number it is given.
_TIME_CLOSED = ("clock_settime", "clock_settime_ns", "tzset", "pthread_getcpuclockid")
_LOCALE_CLOSED = ("bindtextdomain", "bind_textdomain_codeset", "textdomain")
_REFUSED = (
    "a task cannot import '{}': it may import shoal_task, the modules of its bundle and those of the standard "
    "library that docs/reference/guest.md lists"
)


_create_dynamic = _imp.create_dynamic
_create_builtin = _imp.create_builtin
_kept = {}  # modules that are closed in part: importing one anew does not open it
_START = ("_frozen_importlib_external", "encodings", "encodings.utf_8", "io", "zipimport")


class _Finder:
    """The one entry of sys.meta_path: the bundle's modules and the allow-list, all from memory."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> object:
        found = _shoal.find(name)
        if found is None:
            raise ModuleNotFoundError(_REFUSED.format(name), name=name)
        kind, package, origin = found
        return _frozen_importlib.ModuleSpec(
            name, _LOADERS[kind], origin=origin or f"<{name}>", is_package=package
        )


class _FromMemory:
    @staticmethod
    def create_module(_spec: object) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        exec(_shoal.code(module.__name__), module.__dict__)
        if module.__name__ == "_frozen_importlib_external":
            module._set_bootstrap_module(_frozen_importlib)
            _frozen_importlib._bootstrap_external = module


class _Extension:
    @staticmethod
    def create_module(spec: object) -> ModuleType:
        return _create_dynamic(spec)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        _imp.exec_dynamic(module)


class _Builtin:
    @staticmethod
    def create_module(spec: object) -> ModuleType:
        return _kept.get(spec.name) or _create_builtin(spec)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        name = module.__name__
        if name in _kept:
            return
        _imp.exec_builtin(module)
        if name in _CLOSE:
            _CLOSE[name](module)
            _kept[name] = module


_LOADERS = {"python": _FromMemory, "extension": _Extension, "builtin": _Builtin}


def _closed(*_: object, **__: object) -> object:
    raise PermissionError(
        "a task opens no files: load models with shoal_task.model.load, hand results on with "
        "shoal_task.emit"
    )


def _exit(status: int = 0) -> None:
    raise SystemExit(status)


class _ClosedFile:
    def __new__(cls, *_: object, **__: object) -> object:
        _closed()


def _close_files() -> None:
    builtins.open = _io.open = _io.open_code = _closed
    _io.FileIO = _ClosedFile
    stream = SimpleNamespace(
        write=_shoal.write,
        flush=_shoal.ignore,
        encoding="utf-8",
        errors="replace",
        closed=False,
        isatty=bool,
    )
    sys.stdin = sys.__stdin__ = None
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = stream


def _close_posix(posix: ModuleType) -> None:
    for name in list(vars(posix)):
        if not name.startswith("__") and not name.isupper() and name not in _POSIX_KEPT:
            delattr(posix, name)
    posix._exit = _exit
    posix.environ = {}
    posix._have_functions = []
    for name in ("stat", "lstat"):  # `os` and `posixpath` name them at import
        setattr(posix, name, _closed)
    posix.putenv = posix.unsetenv = posix.getcwd = posix.listdir = posix.scandir = _closed


class _Lock:
    """A lock for code that has one thread: where a real one would wait for ever, it says so."""

    def __init__(self) -> None:
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._held and blocking and timeout < 0:
            raise RuntimeError("a task has one thread: nobody would ever release this lock")
        if self._held and blocking:
            _shoal.sleep(timeout)
        taken = not self._held
        self._held = True
        return taken

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False

    def locked(self) -> bool:
        return self._held

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()


def _no_thread(*_: object, **__: object) -> object:
    raise PermissionError(
        "a task starts no threads: its limits.concurrency in task.toml runs events side by side"
    )


def _close_threads() -> None:
    for name in list(vars(_thread)):
        if not name.startswith("__") and name not in _THREAD_KEPT:
            delattr(_thread, name)
    _thread.allocate_lock = _thread.lock = _thread.LockType = _Lock
    _thread.start_new_thread = _thread.start_joinable_thread = _no_thread
    _kept["_thread"] = _thread


def _close_locale(module: ModuleType) -> None:
    """The locale is the whole process's: it may be asked for, not set."""
    ask = module.setlocale

    def setlocale(category: int, locale: object = None) -> str:
        if locale is not None:
            raise PermissionError("a task cannot set the locale: it is the whole process's")
        return ask(category)

    module.setlocale = setlocale
    for name in _LOCALE_CLOSED:
        if hasattr(module, name):
            delattr(module, name)


def _close_time(time: ModuleType) -> None:
    for name in _TIME_CLOSED:
        if hasattr(time, name):
            delattr(time, name)
    setattr(time, "sleep", _shoal.sleep)  # noqa: B010 - the ban on calling it is about its original


_CLOSE = {"posix": _close_posix, "time": _close_time, "_locale": _close_locale}


def _find_codec(encoding: str) -> object:
    return _frozen_importlib._gcd_import("encodings").search_function(encoding)


def _forget_start() -> None:
    _codecs.unregister(sys.modules["encodings"].search_function)
    _codecs.register(_find_codec)
    for name in _START:
        sys.modules.pop(name, None)


def _close_interpreter() -> None:
    for name in _SYS_CLOSED:
        if hasattr(sys, name):
            delattr(sys, name)
    # The finder has its own ways, which ask the table first.
    del _imp.create_dynamic, _imp.create_builtin
    sys.unraisablehook = _shoal.ignore
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [_Finder]
    sys.argv = []
    sys.orig_argv = []
    sys.executable = ""


def bind(entry: str) -> object:
    """Imports the task and returns what handles one event's bytes."""
    module_name, _, function_name = entry.partition(":")
    module = _frozen_importlib._gcd_import(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ImportError(f"'{entry}' is no function: name one as module:function in task.toml")
    decode = _frozen_importlib._gcd_import("shoal_task.event").Event.from_bytes

    def handle(data: bytes) -> None:
        function(decode(data))

    return handle


def teardown() -> None:
    """Drops what the task holds, so that its finalisers run while they can still be killed."""
    if "atexit" in sys.modules:
        sys.modules["atexit"]._clear()
    for name in [name for name in sys.modules if name not in _KEPT]:
        del sys.modules[name]
    gc.collect()


_close_files()
_close_threads()
_close_interpreter()
_forget_start()
_KEPT = frozenset(sys.modules)
gc.enable()
