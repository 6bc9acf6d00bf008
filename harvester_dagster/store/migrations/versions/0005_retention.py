"""Retention: attempts that replay stored pages, what the sweep has yet to look at, failed fetches by age."""

from alembic import op

revision = "0005"
down_revision = "0004"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE attempt DROP CONSTRAINT attempt_mode_check;
ALTER TABLE attempt ADD CONSTRAINT attempt_mode_check
    CHECK (mode IN ('full', 'delta', 'reset', 'remap', 'derive', 'withdraw'));
ALTER TABLE attempt ADD COLUMN replays boolean NOT NULL DEFAULT false;  -- its own pages come after those stored before

CREATE INDEX generation_of_attempt ON generation (attempt_id);
CREATE INDEX fetch_failed ON harvester.fetch (fetched_at) WHERE NOT ok;

CREATE TABLE sweep (                                    -- of results and bodies that nothing refers to any more
    only_one   boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    removed_at timestamptz,                             -- when something was removed that may have referred to some
    swept_at   timestamptz                              -- when the last sweep came to its end
);
INSERT INTO sweep DEFAULT VALUES;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        "DELETE FROM harvester.attempt WHERE mode = 'remap'; ALTER TABLE harvester.attempt DROP COLUMN replays, "
        "DROP CONSTRAINT attempt_mode_check, ADD CONSTRAINT attempt_mode_check "
        "CHECK (mode IN ('full', 'delta', 'reset', 'derive', 'withdraw')); "
        "DROP INDEX harvester.fetch_failed, harvester.generation_of_attempt; DROP TABLE harvester.sweep"
    )
