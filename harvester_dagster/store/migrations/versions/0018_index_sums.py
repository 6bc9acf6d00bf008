"""What the version of an index publishes, added up, so that a push need not add up all of it again."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        """ALTER TABLE harvester.search_index ADD COLUMN complete bigint[];
           COMMENT ON COLUMN harvester.search_index.complete IS
               'documents, then the sums of the parts of their hashes, as of overlay_seq; null: to be added up'"""
    )


def downgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE harvester.search_index DROP COLUMN complete")
