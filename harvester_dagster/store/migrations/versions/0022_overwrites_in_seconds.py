"""Which outputs are to be made anew for what a person overwrote: these wait for no release."""

from alembic import op

revision = "0022"
down_revision = "0021"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE dirty ADD COLUMN overwritten boolean NOT NULL DEFAULT false;
CREATE INDEX dirty_overwritten ON dirty (set_id) WHERE overwritten;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE harvester.dirty DROP COLUMN overwritten")
