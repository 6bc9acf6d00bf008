"""A night that a schedule opens is known by its tick; an index knows whether its alias was seen to show it."""

from alembic import op

revision = "0004"
down_revision = "0003"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE night ADD COLUMN scheduled_at timestamptz UNIQUE;  -- the schedule's tick; NULL: opened by hand
COMMENT ON COLUMN night.released_at IS 'its release began';
ALTER TABLE search_index ADD COLUMN shown boolean NOT NULL DEFAULT false;  -- the alias pointed at it, when last moved
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        "ALTER TABLE harvester.night DROP COLUMN scheduled_at; ALTER TABLE harvester.search_index DROP COLUMN shown"
    )
