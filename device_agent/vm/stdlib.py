"""What a task may import from the standard library, and where each module comes from.

Rules of this module:

- An allow-list, by name. A C module is on it only after churn on two threads with and without the main interpreter
  having imported it (rule K1). VMs that import datetime abort a process whose main interpreter did not: `preload`.
- Python modules are handed over as code from memory; C modules by a fixed map from name to file, or as built-in where
  this CPython has them built in. A guest has no search path.
"""

import importlib
import importlib.machinery
import importlib.util
import marshal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType

PYTHON_MODULES = (
    "abc", "ast", "base64", "bisect", "calendar", "codecs", "collections", "collections.abc",
    "_collections_abc", "_colorize", "colorsys", "_compat_pickle", "contextlib", "contextvars", "copy",
    "copyreg", "csv", "dataclasses", "datetime", "decimal", "difflib", "dis", "enum", "fractions",
    "functools", "__future__", "genericpath", "graphlib", "hashlib", "heapq", "hmac", "html",
    "html.entities", "importlib", "importlib._abc", "importlib.machinery", "inspect", "io", "json",
    "json.decoder", "json.encoder", "json.scanner", "keyword", "linecache", "locale", "numbers", "opcode",
    "_opcode_metadata", "operator", "os", "posixpath", "pprint", "_py_abc", "_pydatetime", "_pydecimal", "_pylong",
    "quopri", "random", "re", "re._casefix", "re._compiler", "re._constants", "re._parser", "reprlib",
    "secrets", "stat", "statistics", "string", "struct", "textwrap", "token", "tokenize", "traceback",
    "types", "typing", "warnings", "weakref", "_weakrefset",
)  # fmt: skip
C_MODULES = (
    "_bisect", "_blake2", "_contextvars", "_csv", "_datetime", "_decimal", "_heapq", "_json", "_md5", "_opcode",
    "_random", "_sha1", "_sha2", "_sha3", "_statistics", "_struct", "array", "binascii", "cmath", "math",
    "unicodedata", "zlib",
)  # fmt: skip
BUILTIN_MODULES = (
    "_abc", "_ast", "_codecs", "_collections", "_functools", "_io", "_locale", "_operator", "_sre", "_stat",
    "_string", "_symtable", "_thread", "_tokenize", "_typing", "_warnings", "_weakref", "atexit",
    "builtins", "errno", "gc", "itertools", "marshal", "posix", "sys", "time",
)  # fmt: skip
# Closed to tasks though the table could hold them: they are loaded before the task and stay as the boot left them.
_BOOT_ONLY = frozenset({"gc", "_io", "sys", "builtins"})
GUEST_API = (
    "shoal_task", "shoal_task.arrays", "shoal_task.border", "shoal_task.clock", "shoal_task.config", "shoal_task.event",
    "shoal_task.image", "shoal_task.kv", "shoal_task.model", "shoal_task.signal", "shoal_task.table",
    "shoal_task.tensor", "shoal_task.train", "shoal_task.upload",
)  # fmt: skip
ENGINE_CORE = "device_agent.engine._core"
# The engine's Python side: what plans a model for the shapes that a task gives it.
ENGINE_MODULES = (
    "device_agent.errors", *(f"device_agent.engine.{name}" for name in (
        "asking", "check", "errors", "format", "graph", "machine", "model", "ops", "plan", "planner", "planner_task",
        "settings", "trials", "plan.planned", "plan.arithmetic", "plan.attention", "plan.chain",
        "plan.context", "plan.costs", "plan.emit", "plan.fold", "plan.fuse", "plan.ir", "plan.lowerings",
        "plan.lower_elementwise", "plan.lower_indexing", "plan.lower_movement", "plan.lower_normalisation",
        "plan.lower_pools", "plan.lower_products", "plan.lower_quantised", "plan.lower_recurrent",
        "plan.layouts", "plan.lower_reductions", "plan.lower_sampling", "plan.lower_signals", "plan.lower_windows",
        "plan.matrices", "plan.memory", "plan.normalisation", "plan.region", "plan.schedule", "plan.stage",
        "plan.target", "plan.transforms", "plan.verify", "plan.window", "plan.words", "train", "train.gradients",
        "train.losses", "train.optimizers", "train.planning", "train.rules", "train.rules_elementwise",
        "train.rules_indexing", "train.rules_products", "train.rules_reductions", "train.rules_convolution",
        "train.rules_pools", "train.trainer", "train.views",
    )),
)  # fmt: skip
IMPORTLIB_EXTERNAL = "_frozen_importlib_external"
_ENCODINGS = (
    "encodings.aliases", "encodings.ascii", "encodings.latin_1", "encodings.utf_8", "encodings.utf_16",
    "encodings.utf_16_be", "encodings.utf_16_le", "encodings.utf_32",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One module that a guest may import: `body` is marshalled code, or the path of an extension."""

    name: str
    kind: str
    package: bool
    body: bytes


def preload() -> None:
    """Imports into the main interpreter every C module of the list and datetime (rule K1), and what VMs replace."""
    for name in ("datetime", *C_MODULES, ENGINE_CORE, "io", "encodings.utf_8", "zipimport"):
        importlib.import_module(name)


def table() -> list[TableRow]:
    """All that a guest may import."""
    rows = [
        _python_row(name)
        for name in (*PYTHON_MODULES, *GUEST_API, *ENGINE_MODULES)
        if not is_alias(name)
    ]
    rows += _encodings()
    rows.append(replace(_python_row("importlib._bootstrap_external"), name=IMPORTLIB_EXTERNAL))
    rows += [
        _c_row(name)
        for name in (*C_MODULES, *BUILTIN_MODULES, ENGINE_CORE)
        if name not in _BOOT_ONLY
    ]
    rows += [_empty_package(name) for name in ("device_agent", "device_agent.engine")]
    return rows


def frozen_rows() -> list[tuple[str, bytes, bool]]:
    """What CPython itself imports while it makes an interpreter: name, code, package; see guest_start."""
    start = "device_agent.vm.guest_start."
    return [
        ("encodings", _compiled(f"{start}encodings", "<encodings>"), True),
        ("encodings.utf_8", _text_code(""), False),
        ("io", _text_code("from _io import TextIOWrapper, open"), False),
        ("zipimport", _text_code("zipimporter = None"), False),
        (IMPORTLIB_EXTERNAL, _compiled(f"{start}importlib_external", "<importlib>"), False),
    ]


def glue_code() -> bytes:
    """The marshalled code that boots a guest."""
    return _compiled("device_agent.vm.guest", "<shoal>")


def _encodings() -> list[TableRow]:
    slim = _compiled("device_agent.vm.guest_encodings", "<encodings>")
    package = TableRow(name="encodings", kind="python", package=True, body=slim)
    return [package, *[_python_row(name) for name in _ENCODINGS]]


def _compiled(name: str, filename: str) -> bytes:
    """A module's code without importing it here."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return marshal.dumps(
        compile(Path(spec.origin).read_bytes(), filename, "exec", dont_inherit=True)
    )


def _find(name: str) -> importlib.machinery.ModuleSpec | None:
    """The module's spec by its file where there is one: a module in sys.modules may be another in disguise."""
    parent, _, _ = name.rpartition(".")
    path = importlib.import_module(parent).__path__ if parent else None
    return importlib.machinery.PathFinder.find_spec(name, path) or importlib.util.find_spec(name)


def is_alias(name: str) -> bool:
    """Whether a package makes this module when it is imported: later 3.13 have no file for collections.abc."""
    spec = _find(name)
    return spec is not None and spec.name != name


def _python_row(name: str) -> TableRow:
    spec = _find(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"this CPython lacks '{name}', which tasks may import", name=name)
    code = spec.loader.get_code(name)  # type: ignore[attr-defined]  # every loader of a Python module has it
    if code is None:
        raise ImportError(f"'{name}' has no Python code in this CPython", name=name)
    package = spec.submodule_search_locations is not None
    body = marshal.dumps(_named(code, f"<{name}>"))
    return TableRow(name=name, kind="python", package=package, body=body)


def _named(code: CodeType, filename: str) -> CodeType:
    """The code with all that it defines under `filename`: a task sees no path of the agent in a traceback."""
    inner = tuple(
        _named(one, filename) if isinstance(one, CodeType) else one for one in code.co_consts
    )
    return code.replace(co_filename=filename, co_consts=inner)


def _c_row(name: str) -> TableRow:
    if name in sys.builtin_module_names:
        return TableRow(name=name, kind="builtin", package=False, body=b"")
    spec = importlib.util.find_spec(name)
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    if spec is None or spec.origin is None or not spec.origin.endswith(suffixes):
        raise ImportError(f"this CPython lacks '{name}', which tasks may import", name=name)
    return TableRow(name=name, kind="extension", package=False, body=spec.origin.encode())


def _empty_package(name: str) -> TableRow:
    return TableRow(name=name, kind="python", package=True, body=_text_code(""))


def _text_code(text: str) -> bytes:
    return marshal.dumps(compile(text, "<shoal>", "exec", dont_inherit=True))
