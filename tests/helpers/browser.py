"""Debian's Chromium for tests: a fresh profile, no calls home, and what a page said while it was open.

Example:
    async with open_browser(tmp_path, "light") as browser:
        page = await browser.page()
        await page.goto(url)
        browser.check_quiet(url)
"""

import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.async_api import BrowserContext, Page, Request, async_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 15_000
# Draws a picture and counts: how many colours it has, and the share of the commonest one.
LOOK = """async (data) => {
    const image = new Image();
    image.src = data;
    await image.decode();
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
    const counts = new Map();
    for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
    return [counts.size, Math.max(...counts.values()) / pixels.length];
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a screenshot is made of."""

    colours: int
    commonest: float


class TestBrowser:
    """One browser; it remembers errors and requests of all its pages."""

    __test__ = False

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self.errors: list[str] = []
        self.urls: list[str] = []

    async def page(self) -> Page:
        page = await self._context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type == "error" else None,
        )
        page.on("request", self._asked)
        return page

    async def picture(self, page: Page, file: Path) -> Picture:
        """Takes a screenshot, keeps it for people, and says what it is made of."""
        file.parent.mkdir(parents=True, exist_ok=True)
        png = await page.screenshot(path=file, full_page=True, animations="disabled")
        blank = await self._context.new_page()
        try:
            data = f"data:image/png;base64,{base64.b64encode(png).decode()}"
            colours, commonest = await blank.evaluate(LOOK, data)
        finally:
            await blank.close()
        return Picture(colours=colours, commonest=commonest)

    def check_quiet(self, origin: str) -> None:
        """No page failed, and none asked anybody but the cloud."""
        assert self.errors == []
        strangers = [url for url in self.urls if not url.startswith((origin, "data:", "blob:"))]
        assert strangers == []

    def _asked(self, request: Request) -> None:
        self.urls.append(request.url)


@asynccontextmanager
async def open_browser(
    folder: Path, scheme: Literal["light", "dark"] = "light"
) -> AsyncIterator[TestBrowser]:
    """Starts one with a profile below the folder."""
    executable = shutil.which("chromium")
    assert executable, "no chromium: run deploy/setup/servers.sh"
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder / f"profile-{scheme}",
            executable_path=executable,
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1360, "height": 900},
            color_scheme=scheme,
        )
        try:
            yield TestBrowser(context)
        finally:
            await context.close()
