"""When two devices were found to share a certificate; who published a version; commits of SHA-256 repositories.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Adds two columns and an index, and widens a column."""
    op.create_index(op.f("ix_notices_namespace_id"), "notices", ["namespace", "id"], unique=False)
    op.add_column("devices", sa.Column("cloned_at_ms", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("task_versions") as table:
        table.add_column(sa.Column("published_by", sa.String(length=256), nullable=True))
        table.alter_column(
            "source_commit", existing_type=sa.String(length=64), type_=sa.String(length=80)
        )
    versions = sa.table(
        "task_versions", *(sa.column(name) for name in ("published_by", "created_by", "state"))
    )
    # Until now the one who prepared a version was taken for the one who published it.
    op.execute(
        sa.update(versions)
        .where(versions.c.state == "published")
        .values(published_by=versions.c.created_by)
    )


def downgrade() -> None:
    """Takes them away; a commit that is too long for the older schema is cut."""
    versions = sa.table("task_versions", sa.column("source_commit"))
    cut = sa.func.substr(versions.c.source_commit, 1, 64)
    op.execute(sa.update(versions).values(source_commit=cut))
    op.drop_index(op.f("ix_notices_namespace_id"), table_name="notices")
    with op.batch_alter_table("task_versions") as table:
        table.alter_column(
            "source_commit", existing_type=sa.String(length=80), type_=sa.String(length=64)
        )
        table.drop_column("published_by")
    with op.batch_alter_table("devices") as table:
        table.drop_column("cloned_at_ms")
