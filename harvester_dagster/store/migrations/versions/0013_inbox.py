"""The inbox of what sources push, and attempts that take it."""

from alembic import op

revision = "0013"
down_revision = "0012"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE attempt
    DROP CONSTRAINT attempt_mode_check,
    ADD CONSTRAINT attempt_mode_check
        CHECK (mode IN ('full', 'delta', 'reset', 'remap', 'record', 'reconcile', 'push', 'derive', 'withdraw'));

ALTER TABLE dataset_version ADD COLUMN pushed bool NOT NULL DEFAULT false;  -- made ahead of a release

CREATE TABLE push (
    push_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_id int NOT NULL REFERENCES harvest_set,
    external_id text NOT NULL,
    source_date text NOT NULL,                  -- the source's own date, as it wrote it; '': it wrote none
    digest bytea NOT NULL,                      -- of the page
    page bytea NOT NULL,                        -- the record alone, as pages of its source hold it
    sender text NOT NULL,
    received_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'taken', 'older', 'rejected', 'dismissed')),
    is_again bool NOT NULL DEFAULT false,       -- was taken, and waits once more beside what was accepted after it
    reason text NOT NULL DEFAULT '',
    attempt_id bigint REFERENCES attempt ON DELETE SET NULL,
    ended_at timestamptz,
    CHECK ((state = 'waiting') = (ended_at IS NULL))
);
CREATE INDEX push_in ON push (set_id, push_id) WHERE state IN ('waiting', 'rejected');
CREATE INDEX push_record ON push (set_id, external_id, push_id);
CREATE INDEX push_ended ON push (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX push_attempt ON push (attempt_id) WHERE attempt_id IS NOT NULL;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        """DROP TABLE harvester.push;
           ALTER TABLE harvester.dataset_version DROP COLUMN pushed;
           DELETE FROM harvester.page_bundle p USING harvester.attempt a
           WHERE p.attempt_id = a.attempt_id AND a.mode = 'push';
           UPDATE harvester.attempt SET mode = 'derive' WHERE mode = 'push';
           ALTER TABLE harvester.attempt DROP CONSTRAINT attempt_mode_check,
               ADD CONSTRAINT attempt_mode_check
                   CHECK (mode IN ('full', 'delta', 'reset', 'remap', 'record', 'reconcile', 'derive', 'withdraw'))"""
    )
