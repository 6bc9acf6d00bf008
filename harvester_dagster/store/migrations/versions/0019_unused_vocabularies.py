"""Since when an object of harvested vocabularies is in use by none: its age counts from then, not from its writing."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.get_bind().exec_driver_sql(
        """CREATE TABLE harvester.vocabulary_unused (
               object_key text PRIMARY KEY,
               since      timestamptz NOT NULL                 -- the clean-up that first found it so
           )"""
    )


def downgrade() -> None:
    op.get_bind().exec_driver_sql("DROP TABLE harvester.vocabulary_unused")
