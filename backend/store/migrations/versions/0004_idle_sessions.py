"""idle sessions"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('idle_since_s', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('idle_timeout_s', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('kept_s', sa.BigInteger(), nullable=True))
