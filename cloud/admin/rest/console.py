"""The console's built files, served with a policy that lets nothing else in.

Rules of this module:

- Only files of the built folder are served; a path cannot leave it.
- A path without a dot in its last part is a page of the console: it gets index.html.
- Hashed assets may be kept for ever, index.html never.
- When the console was not built, a page says how to build it.
"""

import mimetypes
from pathlib import Path

from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
KEEP = "public, max-age=31536000, immutable"
NOT_BUILT = """<!doctype html><meta charset="utf-8"><title>Shoal</title>
<h1>The console is not built</h1>
<p>The cloud runs; only its page is missing. Build it with <code>make console</code> and load this page again.
Until then, <code>shoal --help</code> and the API at <a href="/openapi.json">/openapi.json</a> do all it does.</p>
"""


class ConsoleFiles:
    """Serves the folder that `make console` fills."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "http":
            await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        path = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/")
        if scope["method"] not in ("GET", "HEAD"):
            return Response(status_code=405, headers={"Allow": "GET, HEAD"})
        if scope["path"] == scope.get("root_path"):
            return RedirectResponse(f"{scope['path']}/", 308)
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        index = self._folder / "index.html"
        if not index.is_file():
            return HTMLResponse(NOT_BUILT, headers=headers)
        if "." not in path.rpartition("/")[2]:
            return FileResponse(index, headers=headers)
        return self._file(path, headers)

    def _file(self, path: str, headers: dict[str, str]) -> Response:
        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder) or not file.is_file():
            return Response("not found", 404, headers=headers)
        if path.startswith("assets/"):
            headers["Cache-Control"] = KEEP
        media_type = mimetypes.guess_type(file.name)[0]
        return FileResponse(file, headers=headers, media_type=media_type)
