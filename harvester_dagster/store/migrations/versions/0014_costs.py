"""What a harvest cost its source and us."""

from alembic import op

revision = "0014"
down_revision = "0013"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE attempt
    ADD COLUMN requests int,                            -- that it made, retries and redirects too; NULL: not counted
    ADD COLUMN bytes bigint;                            -- of the pages that came, as they were read
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE harvester.attempt DROP COLUMN requests, DROP COLUMN bytes")
