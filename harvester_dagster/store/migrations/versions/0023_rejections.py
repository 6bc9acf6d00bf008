"""What a rejection leaves, whatever comes of the candidate: what it would change, counted then, so that a page shows it
without counting; and when it was, for a candidate that is accepted by hand ends later, and its night had no part in it.
"""

from alembic import op

revision = "0023"
down_revision = "0022"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE attempt ADD COLUMN figures json, -- of a rejected candidate: {proposed, accepted, added, changed, …, digest}
    ADD COLUMN rejected_at timestamptz, -- first; stays when it is accepted after all
    ADD COLUMN is_stopped boolean NOT NULL DEFAULT false; -- it failed because somebody stopped its night
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        "ALTER TABLE harvester.attempt DROP COLUMN figures, DROP COLUMN rejected_at, DROP COLUMN is_stopped"
    )
