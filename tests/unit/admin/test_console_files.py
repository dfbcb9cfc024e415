from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from cloud.admin.rest.console import ConsoleFiles


def client_of(folder: Path) -> httpx.AsyncClient:
    app = Starlette(routes=[Mount("/console", ConsoleFiles(folder))])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://shoal")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Shoal console</title>")
    (folder / "assets" / "app-1234.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.mark.parametrize("path", ["/console/", "/console/releases/r1", "/console/devices"])
async def test_pages_get_the_index_and_the_policy(built: Path, path: str) -> None:
    async with client_of(built) as client:
        answer = await client.get(path)
    assert "Shoal console" in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-cache"


async def test_hashed_assets_may_be_kept(built: Path) -> None:
    async with client_of(built) as client:
        answer = await client.get("/console/assets/app-1234.js")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert "javascript" in answer.headers["content-type"]


@pytest.mark.parametrize(
    "path",
    ["/console/assets/gone.js", "/console/..%2fsecret.txt", "/console/%2e%2e/secret.txt"],
)
async def test_what_is_not_in_the_folder_is_not_found(built: Path, path: str) -> None:
    async with client_of(built) as client:
        answer = await client.get(path)
    assert "secret" not in answer.text
    assert answer.status_code == 404


async def test_an_unbuilt_console_says_how_to_build_it(tmp_path: Path) -> None:
    async with client_of(tmp_path / "dist") as client:
        answer = await client.get("/console/")
    assert answer.status_code == 200
    assert "make console" in answer.text


async def test_files_are_only_read(built: Path) -> None:
    async with client_of(built) as client:
        answer = await client.post("/console/")
    assert answer.status_code == 405
