"""One way to read a page of rows, for every list.

Rules of this module:

- The order is a key that no two rows share, so that a page begins right after the one before.
- Nothing in a namespace that is not there is an error, not an empty page: it is looked for when a page is empty.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.admin.paging import Page, PageRequest, cut_page, decode_token, page_limit
from cloud.admin.settings import AdminSettings
from cloud.store.audit import WHOLE_CLOUD
from cloud.store.database import Database
from cloud.store.namespaces import require_namespace

type Row = Mapping[str, Any]


async def list_rows[T](
    database: Database,
    list_name: str,
    query: sa.Select[Any],
    key: Sequence[sa.Column[Any]],
    page: PageRequest,
    settings: AdminSettings,
    view: Callable[[Row], T],
    *,
    namespace: str = "",
    descending: bool = False,
) -> Page[T]:
    """Reads the page of `query` that `page` asks for, in order of `key`.

    Raises:
        NamespaceUnknown: the page is empty because there is no such namespace.
    """
    limit = page_limit(page, settings)
    after = decode_token(list_name, page.token, tuple(column.type.python_type for column in key))
    if after is not None:
        place, here = sa.tuple_(*key), sa.tuple_(*(sa.literal(part) for part in after))
        query = query.where(place < here if descending else place > here)
    order = [column.desc() if descending else column.asc() for column in key]
    async with database.read() as conn:
        rows = (await conn.execute(query.order_by(*order).limit(limit + 1))).mappings().all()
        if not rows and namespace:
            await require_known(conn, namespace)
    names = [column.name for column in key]
    cut = cut_page(rows, limit, list_name, lambda row: tuple(row[name] for name in names))
    return Page(items=tuple(view(row) for row in cut.items), next_page_token=cut.next_page_token)


async def require_known(conn: AsyncConnection, namespace: str) -> None:
    """Raises NamespaceUnknown unless the namespace exists; what concerns the whole cloud is always there."""
    if namespace != WHOLE_CLOUD:
        await require_namespace(conn, namespace)
