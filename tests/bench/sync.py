"""The gateway's speed: request bytes in to answer bytes out, over gRPC against an echo, and beside a business app.

10,000 devices, each with ten tasks and two attributes, against 300 active releases. What runs in one thread is a core's
worth, so it is told per second of processor time: what else the machine does is left out. The gRPC server is a process
of its own; its echo has the same certificates, connection and sizes.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence

import grpc

from cloud.rpc.peer import DevicePeer
from tests.bench.rows import BenchRow, at_least, interleaved, ratio_to
from tests.bench.sync_server import ECHO, SYNC, Offer
from tests.helpers.business import Shop, Shopper, plain_shop
from tests.helpers.live_gateway import unary
from tests.helpers.release_sets import request, row
from tests.helpers.sync_fleet import NOW_MS, SyncFleet

DEVICES, RELEASES = 10_000, 300
ROUNDS = 5
CALLS, IN_FLIGHT = 3_000, 64
REQUESTS = 3_000
PEER = "bare ASGI app"


def rows() -> list[BenchRow]:
    """All rows of this module."""
    return [*in_memory(), *asyncio.run(over_grpc()), *asyncio.run(beside_business())]


def in_memory() -> list[BenchRow]:
    fleet = SyncFleet(devices=DEVICES, releases=RELEASES)
    cases = {
        "Sync, same epoch": (fleet.requests(fleet.epoch), 100_000),
        "Sync, epoch moved, nothing for the device": (fleet.requests(fleet.epoch - 1), 50_000),
        "Sync, changed and signed": (fleet.requests(fleet.epoch - 2, held=1), 5_000),
    }
    gc.collect()
    gc.freeze()
    medians = interleaved(ROUNDS, *(_rate(fleet, said) for said, _ in cases.values()))
    gc.unfreeze()
    return [
        at_least(f"{name}, one core", rate, "1/s", target)
        for (name, (_, target)), rate in zip(cases.items(), medians, strict=True)
    ]


def _rate(fleet: SyncFleet, said: list[tuple[DevicePeer, bytes]]) -> Callable[[], float]:
    answerer = fleet.answerer

    def measure() -> float:
        read, answer = answerer.read, answerer.answer
        begin = time.process_time()
        for peer, data in said:
            answer(peer, data, read(data), NOW_MS)
        return len(said) / (time.process_time() - begin)

    return measure


async def over_grpc() -> list[BenchRow]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.sync_server", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 120)
        offer = Offer.from_json(json.loads(line))
        async with offer.channel() as channel:
            data = offer.request
            rates: dict[str, list[float]] = {SYNC: [], ECHO: []}
            for method in (SYNC, ECHO):
                await _calls(unary(channel, method), data, IN_FLIGHT)
            for _ in range(ROUNDS):
                for method, kept in rates.items():
                    kept.append(await _calls(unary(channel, method), data, CALLS))
    finally:
        process.terminate()
        await process.wait()
    sync, echo = (sorted(kept)[ROUNDS // 2] for kept in (rates[SYNC], rates[ECHO]))
    return [
        BenchRow(name="Sync over gRPC with mTLS, one connection", value=sync, unit="1/s"),
        BenchRow(name="echo over gRPC with mTLS, one connection", value=echo, unit="1/s"),
        ratio_to("gRPC echo, same mTLS and sizes", "Sync over gRPC / echo", sync / echo, 0.7),
    ]


async def _calls(
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], data: bytes, count: int
) -> float:
    """Calls a second, so many in flight."""
    remaining = count

    async def worker() -> None:
        nonlocal remaining
        while remaining > 0:
            remaining -= 1
            await call(data)

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - begin)


async def beside_business() -> list[BenchRow]:
    shop, device = Shop(), Shopper()
    held = request(epoch=shop.fleet.epoch - 2, rows=[row("everywhere", 1)])
    same = request(epoch=shop.fleet.epoch, rows=[row("everywhere", 2)])
    rates: dict[str, list[float]] = {"bare": [], "without": [], "same": [], "changed": []}
    for _ in range(ROUNDS):
        rates["bare"].append(await _requests(plain_shop, [None] * REQUESTS))
        rates["without"].append(await _requests(shop.app, [None] * REQUESTS))
        for name, message in (("same", same), ("changed", held)):
            headers = [device.header(message).encode() for _ in range(REQUESTS // 10)]
            shop.clock.now_ms = NOW_MS
            shop.face._this_second = 0
            rates[name].append(await _requests(shop.app, headers))
    bare, without, unchanged, changed = (sorted(kept)[ROUNDS // 2] for kept in rates.values())
    name = "business requests a second, {} / bare app"
    return [
        ratio_to(PEER, name.format("without a profile"), without / bare, 0.7),
        _against_bare(name.format("nothing changed"), unchanged, bare),
        _against_bare(name.format("changed and signed"), changed, bare),
        _added("business request, nothing changed", unchanged, bare),
        _added("business request, changed and signed", changed, bare),
    ]


def _against_bare(name: str, rate: float, bare: float) -> BenchRow:
    """No target: the bare app takes a few microseconds, checking a profile's signature alone tens of them."""
    ratio = rate / bare
    return BenchRow(name=name, value=ratio, unit="ratio", peer=PEER, ratio=ratio)


def _added(name: str, rate: float, bare: float) -> BenchRow:
    return BenchRow(name=name, value=1e6 / rate - 1e6 / bare, unit="us added")


async def _requests(app: object, headers: Sequence[bytes | None]) -> float:
    assert callable(app)

    async def send(_message: object) -> None:
        return None

    begin = time.perf_counter()
    for header in headers:
        told = [] if header is None else [(b"shoal-profile", header)]
        scope = {"type": "http", "path": "/basket/7", "headers": told}
        await app(scope, None, send)
    return len(headers) / (time.perf_counter() - begin)


def main() -> None:
    """Prints this module's rows alone."""
    from rich.console import Console

    from tests.bench.run import render

    Console(width=140).print(render("sync", rows()))


if __name__ == "__main__":
    main()
