"""The source's date of a record of which only parts changed: its own revision stays."""

from alembic import op

revision = "0015"
down_revision = "0014"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE revision
    ADD COLUMN parts_gen int,                           -- since which generation `parts_modified_at` holds
    ADD COLUMN parts_modified_at text;                  -- the source's date of bytes in which only parts changed
CREATE INDEX revision_parts_gen ON revision (set_id, parts_gen) WHERE parts_gen IS NOT NULL;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE harvester.revision DROP COLUMN parts_gen, DROP COLUMN parts_modified_at")
