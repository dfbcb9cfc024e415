import io
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from pydantic import BaseModel

from cloud.admin.errors import NotFound, Unauthenticated
from cloud.admin.rest.middleware import BodyLimit, RequestLog
from cloud.admin.rest.problems import HTTP_STATUS, http_status, install_problem_handlers
from cloud.observability.logs import set_up_logs
from device_agent.clock import SystemClock
from device_agent.errors import ShoalError


class Thing(BaseModel):
    size: int


def make_app() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    app.add_middleware(BodyLimit, bytes_max=100)
    app.add_middleware(RequestLog, clock=SystemClock())

    @app.get("/missing")
    async def missing() -> None:
        raise NotFound("no thing of that name: `shoal thing list` shows them")

    @app.get("/denied")
    async def denied() -> None:
        raise Unauthenticated("who are you?")

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the secret is swordfish")

    @app.post("/things")
    async def things(body: Thing) -> Thing:
        return body

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=make_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://shoal") as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/missing", None, 404, "NOT_FOUND"),
        ("GET", "/denied", None, 401, "UNAUTHENTICATED"),
        ("GET", "/broken", None, 500, "INTERNAL"),
        ("GET", "/nowhere", None, 404, "NOT_FOUND"),
        ("DELETE", "/missing", None, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/things", b"{", 400, "ARGUMENT_INVALID"),
        ("POST", "/things", b'{"size": "x"}', 400, "ARGUMENT_INVALID"),
        ("POST", "/things", b" " * 101, 413, "BODY_TOO_LONG"),
    ],
)
async def test_every_failure_has_one_form(
    client: httpx.AsyncClient, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert set(error) == {"code", "message", "hint"}
    assert all(error.values())


async def test_a_validation_error_names_the_field_and_not_the_value(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/things", json={"size": "a-secret"})
    assert "size" in answer.json()["error"]["message"]
    assert "a-secret" not in answer.text


async def test_a_body_that_does_not_say_its_length_is_cut_off_too(
    client: httpx.AsyncClient,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 10

    answer = await client.post("/raw", content=endless())
    assert answer.status_code == 413


async def test_an_unexpected_failure_tells_an_id_and_the_log_tells_the_cause(
    client: httpx.AsyncClient,
) -> None:
    stream = io.StringIO()
    set_up_logs(stream=stream)
    try:
        answer = await client.get("/broken")
    finally:
        structlog.reset_defaults()
    request_id = answer.headers["shoal-request-id"]
    assert request_id in answer.json()["error"]["message"]
    assert "swordfish" not in answer.text
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    cause = next(line for line in lines if "exception" in line)
    assert cause["request_id"] == request_id
    assert "the secret is swordfish" in cause["exception"]


async def test_answers_carry_headers_that_protect_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/missing")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


def test_every_grpc_status_has_an_http_status() -> None:
    for status, number in HTTP_STATUS.items():
        kind = type("Made", (ShoalError,), {"status": status})
        assert http_status(kind("x")) == number
