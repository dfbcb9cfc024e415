"""A shop's API whose ordinary traffic tells devices of new task versions: Shoal is one middleware.

    python -m docs.examples.business_app --database-url sqlite:///demo/shoal.db --keys demo/keys/online

A device adds `shoal-profile` to any request (device_agent/tasks/profile_header.py) and finds `shoal-changes` in the
response when something changed for it. Requests without the header, and all that is wrong with one, are the shop's
alone.
"""

import argparse
import asyncio
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cloud.gateway.answer import Answerer, Signer
from cloud.gateway.business import ProfileFace, ShoalProfileMiddleware
from cloud.gateway.follower import Follower
from cloud.gateway.settings import GatewaySettings
from cloud.keys.online import OnlineKeys
from cloud.store.database import Database
from device_agent.clock import SystemClock


async def basket(request: Request) -> JSONResponse:
    return JSONResponse({"customer": request.path_params["customer"], "items": ["tea", "rusks"]})


def shop() -> Starlette:
    """The business, which knows nothing of Shoal."""
    return Starlette(routes=[Route("/basket/{customer}", basket)])


def with_shoal(follower: Follower, signer: Signer) -> ShoalProfileMiddleware:
    """The same, and devices hear of changes."""
    settings = GatewaySettings()
    answerer = Answerer(follower, signer, settings)
    return ShoalProfileMiddleware(shop(), ProfileFace(answerer, SystemClock(), settings.business))


async def serve(database_url: str, keys: Path, port: int) -> None:
    database = await Database.open(database_url)
    follower = Follower(database, SystemClock(), GatewaySettings().follower)
    await follower.start()
    app = with_shoal(follower, OnlineKeys.load(keys).director)
    following = asyncio.create_task(follower.run())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port))
    try:
        await server.serve()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", required=True, help="the cloud's database")
    parser.add_argument("--keys", required=True, type=Path, help="the cloud's keys/online folder")
    parser.add_argument("--port", type=int, default=8090)
    asked = parser.parse_args()
    asyncio.run(serve(asked.database_url, asked.keys, asked.port))


if __name__ == "__main__":
    main()
