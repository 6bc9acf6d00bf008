"""What a candidate would change is counted when it is rejected, so that a page shows it without counting."""

from alembic import op

revision = "0023"
down_revision = "0022"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE attempt ADD COLUMN figures json; -- of a rejected candidate: {proposed, accepted, added, changed, …, digest}
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE harvester.attempt DROP COLUMN figures")
