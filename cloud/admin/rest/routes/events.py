"""The event stream of a namespace: overview, releases, notices.

Rules of this module:

- The clock's "now" is no change: an overview is sent when something in it other than `now_ms` differs.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from fastapi import Request
from fastapi.responses import StreamingResponse

from cloud.admin.caller import Caller, Scope
from cloud.admin.operations.admin import Admin
from cloud.admin.operations.overview import FleetCounts
from cloud.admin.paging import PageRequest
from cloud.admin.rest.context import AdminOf, CallerOf, NamespaceOf, bearer_token
from cloud.admin.rest.routes.scoped import namespace_router, needs
from cloud.admin.rest.streams import EventStreams, Shown, shown_of

router = namespace_router("events")
# What the shared look may see; each reader's own scopes were checked when it was let in.
READER = Caller(
    actor="event-stream",
    namespace="*",
    scopes=frozenset({Scope.DEVICE_READ, Scope.RELEASE_READ}),
)
NOTICES_SHOWN = 20


async def look_at(
    admin: Admin, namespace: str, counts: Callable[[], Awaitable[FleetCounts]]
) -> Iterable[Shown]:
    """All that a stream shows of a namespace."""
    newest = PageRequest(size=admin.settings.sse_releases_max)
    overview = await admin.overview.overview(READER, namespace, await counts())
    releases = await admin.releases.list(READER, namespace, newest)
    notices = await admin.audit.notices(READER, namespace, PageRequest(size=NOTICES_SHOWN))
    return (
        shown_of("overview", "", replace(overview, now_ms=0)),
        *(shown_of("release", release.id, release) for release in reversed(releases.items)),
        *(shown_of("notice", str(notice.id), notice) for notice in reversed(notices.items)),
    )


@router.get("/events", response_class=StreamingResponse, **needs(Scope.DEVICE_READ))
async def stream_events(
    admin: AdminOf, caller: CallerOf, namespace: NamespaceOf, request: Request
) -> StreamingResponse:
    """Server-sent events; needs release:read too. Begins with all there is, then sends what changes."""
    caller.require(Scope.DEVICE_READ, namespace)
    caller.require(Scope.RELEASE_READ, namespace)
    streams = request.app.state.streams
    assert isinstance(streams, EventStreams)
    streams.admit()
    token = bearer_token(request.headers.get("authorization", ""))

    async def recheck() -> None:
        again = await admin.tokens.authenticate(token)
        again.require(Scope.RELEASE_READ, namespace)

    counts = streams.counts(namespace, lambda: admin.overview.count(READER, namespace))
    look = streams.shared(namespace, lambda: look_at(admin, namespace, counts))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        streams.stream(look, recheck), media_type="text/event-stream", headers=headers
    )
