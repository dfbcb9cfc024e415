"""When two devices were found to share a certificate.

Revision: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Adds the column."""
    op.add_column("devices", sa.Column("cloned_at_ms", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Takes it away."""
    with op.batch_alter_table("devices") as table:
        table.drop_column("cloned_at_ms")
