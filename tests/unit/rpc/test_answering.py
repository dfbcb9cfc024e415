"""Errors leave a gRPC server as the catalogue says, whatever the shape of the method."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from cloud.gateway.errors import SyncInvalid
from cloud.rpc.answering import ERROR_CODE_KEY, Context
from cloud.rpc.interceptor import ErrorInterceptor
from cloud.telemetry.errors import ReportGap


async def unary(data: bytes, _context: Context) -> bytes:
    return failing(data)


async def stream(data: bytes, _context: Context) -> AsyncIterator[bytes]:
    yield b"first"
    yield failing(data)


async def upload(requests: AsyncIterator[bytes], _context: Context) -> bytes:
    return failing(b"".join([one async for one in requests]))


async def both(requests: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
    async for one in requests:
        yield failing(one)


def failing(data: bytes) -> bytes:
    if data == b"ours":
        raise SyncInvalid("send less")
    if data == b"gap":
        raise ReportGap(5)
    if data == b"bug":
        raise ZeroDivisionError("secret detail")
    return data


@asynccontextmanager
async def serving() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "U": grpc.unary_unary_rpc_method_handler(unary),
        "S": grpc.unary_stream_rpc_method_handler(stream),
        "C": grpc.stream_unary_rpc_method_handler(upload),
        "B": grpc.stream_stream_rpc_method_handler(both),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", methods),))
    port = server.add_insecure_port("localhost:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        yield channel
    await server.stop(0)


async def call(channel: grpc.aio.Channel, method: str, data: bytes) -> bytes:
    # The stubs cannot infer plain bytes.
    dynamic: Any = channel
    match method:
        case "U":
            return bytes(await dynamic.unary_unary("/t.T/U")(data))
        case "C":
            return bytes(await dynamic.stream_unary("/t.T/C")(iter([data])))
        case "S":
            answers = dynamic.unary_stream("/t.T/S")(data)
        case _:
            answers = dynamic.stream_stream("/t.T/B")(iter([data]))
    return [bytes(one) async for one in answers][-1]


@pytest.mark.parametrize("method", ["U", "S", "C", "B"])
async def test_errors_of_the_catalogue_keep_code_and_message(method: str) -> None:
    async with serving() as channel:
        assert await call(channel, method, b"fine") == b"fine"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, method, b"ours")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "send less"
    assert dict(refused.value.trailing_metadata() or ())[ERROR_CODE_KEY] == "SYNC_INVALID"


@pytest.mark.parametrize("method", ["U", "S", "C", "B"])
async def test_a_bug_is_internal_and_tells_nothing(method: str) -> None:
    async with serving() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, method, b"bug")
    assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (refused.value.details() or "")
    assert dict(refused.value.trailing_metadata() or ())[ERROR_CODE_KEY] == "INTERNAL"


async def test_an_error_may_carry_one_thing_more() -> None:
    async with serving() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, "U", b"gap")
    metadata = dict(refused.value.trailing_metadata() or ())
    assert metadata["shoal-expected-sequence"] == "5"


async def test_an_unknown_method_is_unimplemented() -> None:
    async with serving() as channel:
        unknown: Any = channel.unary_unary("/t.T/X")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(unknown(b""), 5)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
