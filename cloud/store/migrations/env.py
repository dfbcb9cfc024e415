"""What Alembic runs for every command: hands it the connection that cloud/store/schema.py holds under its lock.

Rules of this module:

- The transaction is the caller's: all revisions of an upgrade are committed together, or none is.
"""

from alembic import context

from cloud.store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations run by cloud.store.schema.migrate, which holds the lock")
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
