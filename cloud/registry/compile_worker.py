"""Runs in a process of its own: scripts in as JSON on stdin, marshalled code out as JSON on stdout.

Rules of this module:

- Standard library only: it runs with -I -S and nothing else on its path.
- A fresh process for each upload: the bytes of a marshalled code object depend on what the process did before.
"""

import base64
import importlib.util
import json
import marshal
import sys


def compile_all(task: str, sources: dict[str, str], optimize: int) -> dict[str, object]:
    """Compiles each script; gives {"modules": {path: base64}} or {"problems": [text]}, and what this Python is."""
    magic = int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little")
    python = {"magic": magic, "tag": f"{sys.implementation.cache_tag}-{magic}"}
    modules: dict[str, str] = {}
    problems: list[str] = []
    for path in sorted(sources):
        try:
            code = compile(
                sources[path], f"{task}/{path}", "exec", dont_inherit=True, optimize=optimize
            )
        except SyntaxError as error:
            problems.append(f"{path}:{error.lineno}: {error.msg}")
        except (ValueError, RecursionError, MemoryError) as error:
            problems.append(f"{path}: {error}")
        else:
            modules[path] = base64.b64encode(marshal.dumps(code)).decode()
    return python | ({"problems": problems} if problems else {"modules": modules})


if __name__ == "__main__":
    request = json.load(sys.stdin)
    json.dump(compile_all(**request), sys.stdout)
