"""Runs in a process of its own: scripts in as JSON on stdin, marshalled code out as JSON on stdout.

Rules of this module:

- Standard library only: it runs with -I -S and nothing else on its path.
- A fresh process for each upload: the bytes of a marshalled code object depend on what the process did before.
"""

import base64
import json
import marshal
import sys


def compile_all(task: str, sources: dict[str, str]) -> dict[str, object]:
    """Compiles each script; gives {"modules": {path: base64}} or {"problems": [text]}."""
    modules: dict[str, str] = {}
    problems: list[str] = []
    for path in sorted(sources):
        try:
            code = compile(sources[path], f"{task}/{path}", "exec", dont_inherit=True, optimize=0)
        except SyntaxError as error:
            problems.append(f"{path}:{error.lineno}: {error.msg}")
        except (ValueError, RecursionError, MemoryError) as error:
            problems.append(f"{path}: {error}")
        else:
            modules[path] = base64.b64encode(marshal.dumps(code)).decode()
    return {"problems": problems} if problems else {"modules": modules}


if __name__ == "__main__":
    request = json.load(sys.stdin)
    json.dump(compile_all(request["task"], request["sources"]), sys.stdout)
