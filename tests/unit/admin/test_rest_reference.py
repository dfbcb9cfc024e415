"""docs/reference/rest.md names every route with its scope, and no other."""

import re
from pathlib import Path

from cloud.admin.rest.routes import access, devices, events, releases, tasks, trust
from cloud.admin.rest.routes.scoped import NAMESPACE_PREFIX, SCOPE_KEY

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "rest.md"


def test_the_page_and_the_routes_agree() -> None:
    parts = (access, trust, tasks, releases, devices, events)
    routes = [
        route
        for router in (access.global_router, *(part.router for part in parts))
        for route in router.routes
    ]
    served = {
        (method, route.path.replace(NAMESPACE_PREFIX, "N"), route.openapi_extra[SCOPE_KEY])
        for route in routes
        for method in route.methods
    }
    told = re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \| ([^|]+) \|", PAGE.read_text(), re.M)
    named = {(method, path, "" if scope == "any token" else scope) for method, path, scope in told}
    assert named == served
