"""What the scripts of a version become for each Python of the fleet: one code.bin a bytecode tag.

Rules of this module:

- A build is a derived file: its key is (digest of the scripts, bytecode tag, options), and equal keys mean equal bytes.
  Each is compiled once, in a fresh process of the Python that it is for; what that process says of itself names it.
- The cloud's own Python comes first. Scripts must compile for every Python that the manifest admits
  (`requires.python`); a problem names the Python that has it.
"""

import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from cloud.registry.compile import check_sources, compile_for, describe_python
from cloud.registry.settings import SETTINGS, RegistrySettings
from device_agent.tasks.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """One Python that scripts are compiled for.

    Attributes:
        executable: Its program on this machine.
        tag: Bytecode tag, e.g. "cpython-313-3571".
        magic: Magic number of its bytecode.
    """

    executable: str
    tag: str
    magic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildKey:
    """Names a derived file.

    Attributes:
        sources: Digest of the scripts with their paths, and of the name that their tracebacks bear.
        tag: Bytecode tag of the Python.
        optimize: CPython's level: 0 keeps asserts and docstrings, 1 drops asserts, 2 both.
    """

    sources: str
    tag: str
    optimize: int


class Builder:
    """Builds for this Python and those of the settings; keeps the newest builds."""

    def __init__(self, settings: RegistrySettings = SETTINGS) -> None:
        self._settings = settings
        self._pythons: list[Python] = []
        self._built: OrderedDict[BuildKey, bytes] = OrderedDict()

    async def build(self, manifest: Manifest, sources: Mapping[str, bytes]) -> dict[str, bytes]:
        """Bytecode tag to the content of code.bin.

        Raises:
            SourceInvalid: a script is not Python for one of them, or the entry is not there.
            CompilerFailed: a compiling process died or took too long, or a Python cannot be run.
        """
        check_sources(manifest, sources)
        own, *others = await self._all_pythons()
        admitted = [one for one in others if one.tag.startswith(manifest.requires.python)]
        return {one.tag: await self._built_for(one, manifest, sources) for one in (own, *admitted)}

    async def _all_pythons(self) -> list[Python]:
        if not self._pythons:
            found: dict[str, Python] = {}
            for executable in (sys.executable, *self._settings.pythons):
                tag, magic = await describe_python(executable, self._settings)
                found.setdefault(tag, Python(executable=executable, tag=tag, magic=magic))
            self._pythons = list(found.values())
        return self._pythons

    async def _built_for(
        self, python: Python, manifest: Manifest, sources: Mapping[str, bytes]
    ) -> bytes:
        key = build_key(manifest.name, sources, python.tag, self._settings.optimize)
        if key not in self._built:
            code = await compile_for(
                python.executable, python.magic, manifest, sources, self._settings
            )
            self._built[key] = code
            if len(self._built) > self._settings.builds_kept_max:
                self._built.popitem(last=False)
        self._built.move_to_end(key)
        return self._built[key]


def build_key(task: str, sources: Mapping[str, bytes], tag: str, optimize: int) -> BuildKey:
    """The key of a build of these scripts."""
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in sources.items()}
    text = json.dumps([task, digests], sort_keys=True).encode()
    return BuildKey(sources=hashlib.sha256(text).hexdigest(), tag=tag, optimize=optimize)
