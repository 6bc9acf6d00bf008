"""Takedowns to their end: acts that are still to be told, what indices let go of, results by document, asking anew."""

from alembic import op

revision = "0020"
down_revision = "0019"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE audit ADD COLUMN untold boolean NOT NULL DEFAULT false;     -- people are still to be told of it
CREATE INDEX audit_untold ON audit (audit_id) WHERE untold;

ALTER TABLE search_index                                -- up to which seq nothing is in it that was taken down; what
    ADD COLUMN taken_out_seq bigint NOT NULL DEFAULT 0; -- came back may be missing still (overlay_seq)

ALTER TABLE result ADD COLUMN made_for bigint;          -- for which document it was made last; others may share it

CREATE TABLE asked_anew (                               -- records whose purge was undone: their source is to be asked
    doc_id   bigint PRIMARY KEY,
    set_id   int NOT NULL REFERENCES harvest_set,
    since    timestamptz NOT NULL,
    tried_at timestamptz,
    reason   text NOT NULL DEFAULT ''                   -- why it could not be, the last time
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        "DROP TABLE harvester.asked_anew; ALTER TABLE harvester.result DROP COLUMN made_for; "
        "ALTER TABLE harvester.search_index DROP COLUMN taken_out_seq; "
        "ALTER TABLE harvester.audit DROP COLUMN untold"
    )
