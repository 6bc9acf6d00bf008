"""Outputs with what differs of them in the index. Rows that were there keep none: it is made when they are sent."""

from alembic import op

revision = "0006"
down_revision = "0005"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE output_body ADD COLUMN index_head text;    -- JSON without its braces: the fields that differ in the index
ALTER TABLE output_body ADD COLUMN common_at int;      -- bytes of the body before what is the same in both
ALTER TABLE output_body ALTER COLUMN index_head SET STORAGE EXTERNAL, ALTER COLUMN index_head SET STATISTICS 1,
    ALTER COLUMN common_at SET STATISTICS 1;
ALTER TABLE output_body ADD CONSTRAINT output_body_forms CHECK ((index_head IS NULL) = (common_at IS NULL)) NOT VALID;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        "ALTER TABLE harvester.output_body DROP CONSTRAINT output_body_forms, DROP COLUMN common_at, "
        "DROP COLUMN index_head"
    )
