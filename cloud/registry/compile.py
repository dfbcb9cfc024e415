"""Scripts to bytecode for one Python: this one, or another whose program is named.

Rules of this module:

- The entry's module must be there and define the function: found by its syntax tree, nothing of the author's runs here.
- Compiling happens in a fresh process of that Python, bounded in time; its problems name file and line. What it says
  of its bytecode must be what was asked for.
"""

import ast
import asyncio
import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cloud.registry.errors import CompilerFailed, SourceInvalid
from cloud.registry.settings import SETTINGS, RegistrySettings
from device_agent.tasks.bytecode import MODULES_MAX, encode_bytecode, running_magic
from device_agent.tasks.manifest import Manifest

# Names that mean something else inside a VM.
_TAKEN = sys.stdlib_module_names | {"shoal_task", "device_agent"}
_WORKER = Path(__file__).with_name("compile_worker.py")


async def compile_sources(
    manifest: Manifest, sources: Mapping[str, bytes], settings: RegistrySettings = SETTINGS
) -> bytes:
    """Compiles the scripts of a task to the content of code.bin.

    Raises:
        SourceInvalid: a script is not Python, or the entry is not there.
        CompilerFailed: the compiling process died or took too long.
    """
    check_sources(manifest, sources)
    return await compile_for(sys.executable, running_magic(), manifest, sources, settings)


def check_sources(manifest: Manifest, sources: Mapping[str, bytes]) -> None:
    """Makes sure of what does not depend on the Python: names, encoding, entry.

    Raises:
        SourceInvalid: it is not so.
    """
    texts = _decoded(sources)
    names = module_names(texts)
    check_entry(manifest.entry, {names[path]: text for path, text in texts.items()})


async def compile_for(
    executable: str,
    magic: int,
    manifest: Manifest,
    sources: Mapping[str, bytes],
    settings: RegistrySettings = SETTINGS,
) -> bytes:
    """Compiles checked scripts with another Python's program.

    Raises:
        SourceInvalid: a script does not compile there.
        CompilerFailed: the compiling process died, took too long, or makes other bytecode than `magic`.
    """
    texts = _decoded(sources)
    names = module_names(texts)
    request = {"task": manifest.name, "sources": texts, "optimize": settings.optimize}
    answer = await _run_worker(executable, request, settings)
    if answer["magic"] != magic:
        raise CompilerFailed(f"{executable} has become another Python; restart the cloud")
    if problems := answer.get("problems"):
        told = "\n".join(f"  {one}" for one in problems)
        raise SourceInvalid(
            f"scripts do not compile for {answer['tag']}:\n{told}\n"
            f"mend them, or say in requires.python which Python they are for"
        )
    modules = {names[path]: base64.b64decode(code) for path, code in answer["modules"].items()}
    return encode_bytecode(modules, magic)


async def describe_python(
    executable: str, settings: RegistrySettings = SETTINGS
) -> tuple[str, int]:
    """Bytecode tag and magic number of a Python's program.

    Raises:
        CompilerFailed: it cannot be run.
    """
    answer = await _run_worker(executable, {"task": "", "sources": {}, "optimize": 0}, settings)
    return answer["tag"], answer["magic"]


def module_names(paths: Mapping[str, str]) -> dict[str, str]:
    """Module name of each script: "a/b.py" is "a.b", "a/__init__.py" is "a".

    Raises:
        SourceInvalid: a name is no identifier, or a folder lacks its __init__.py.
    """
    if not 0 < len(paths) <= MODULES_MAX:
        raise SourceInvalid(f"a task has 1 to {MODULES_MAX} scripts, not {len(paths)}")
    names = {path: _module_name(path) for path in paths}
    for path, name in names.items():
        parent = name.rpartition(".")[0]
        if parent and parent not in names.values():
            raise SourceInvalid(f"{path}: add {parent.replace('.', '/')}/__init__.py")
    return names


def _module_name(path: str) -> str:
    parts = PurePosixPath(path).with_suffix("").parts
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    if not all(part.isidentifier() for part in parts):
        raise SourceInvalid(f"{path}: a module's name has letters, digits and '_' only; rename it")
    if parts[0] in _TAKEN:
        raise SourceInvalid(f"{path}: it would hide Python's or Shoal's own {parts[0]}; rename it")
    return ".".join(parts)


def check_entry(entry: str, texts: Mapping[str, str]) -> None:
    """Makes sure that "module:function" is there, at the top of its module.

    Raises:
        SourceInvalid: it is not; the functions that are there are named.
    """
    module, _, function = entry.partition(":")
    if module not in texts:
        raise SourceInvalid(
            f"entry {entry}: there is no module {module}; there are {', '.join(sorted(texts))}"
        )
    try:
        tree = ast.parse(texts[module])
    except (SyntaxError, ValueError):
        return  # the compiler names the place
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if function not in defined:
        there = f"it defines {', '.join(defined)}" if defined else "it defines no function"
        raise SourceInvalid(f"entry {entry}: {module} does not define {function}; {there}")


def _decoded(sources: Mapping[str, bytes]) -> dict[str, str]:
    texts = {}
    for path, data in sources.items():
        try:
            texts[path] = data.decode()
        except UnicodeDecodeError as error:
            raise SourceInvalid(f"{path} is not UTF-8: {error}") from None
    return texts


async def _run_worker(
    executable: str, request: Mapping[str, object], settings: RegistrySettings
) -> dict[str, Any]:
    try:
        worker = await asyncio.create_subprocess_exec(
            executable,
            *("-I", "-S", "-X", "utf8", str(_WORKER)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise CompilerFailed(f"{executable} cannot be run ({error}); mend `pythons`") from None
    try:
        async with asyncio.timeout(settings.compile_seconds_max):
            out, errors = await worker.communicate(json.dumps(request).encode())
    except TimeoutError:
        worker.kill()
        await worker.wait()
        raise CompilerFailed(
            f"compiling took over {settings.compile_seconds_max:g} s; split the scripts"
        ) from None
    if worker.returncode != 0:
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise CompilerFailed(f"the compiling process ended with {worker.returncode}: {last[0]}")
    answer: dict[str, Any] = json.loads(out)
    return answer
