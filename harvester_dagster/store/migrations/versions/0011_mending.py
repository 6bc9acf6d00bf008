"""One record by its id, and reconciliations: what deltas had missed is found by a whole list of identifiers."""

from alembic import op

revision = "0011"
down_revision = "0010"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE attempt
    ADD COLUMN report jsonb,                            -- what a reconciliation found
    DROP CONSTRAINT attempt_mode_check,
    ADD CONSTRAINT attempt_mode_check
        CHECK (mode IN ('full', 'delta', 'reset', 'remap', 'record', 'reconcile', 'derive', 'withdraw')),
    ADD CONSTRAINT attempt_report_of_reconciliation CHECK (report IS NULL OR mode = 'reconcile');

ALTER TABLE page_bundle                                 -- records; identifiers only; or our page of what is gone
    ADD COLUMN holds text NOT NULL DEFAULT 'records' CHECK (holds IN ('records', 'identifiers', 'gone'));

ALTER TABLE harvest_set ADD COLUMN reconciled_at timestamptz;  -- when the list of the last accepted one was begun

ALTER TABLE revision ADD COLUMN seen_modified_at text;  -- the source's date of bytes that said nothing new
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        """DELETE FROM harvester.page_bundle p USING harvester.attempt a
           WHERE p.attempt_id = a.attempt_id AND a.mode IN ('record', 'reconcile');
           UPDATE harvester.attempt SET mode = 'derive', report = NULL WHERE mode IN ('record', 'reconcile');
           ALTER TABLE harvester.attempt DROP COLUMN report, DROP CONSTRAINT attempt_mode_check,
               ADD CONSTRAINT attempt_mode_check
                   CHECK (mode IN ('full', 'delta', 'reset', 'remap', 'derive', 'withdraw'));
           ALTER TABLE harvester.page_bundle DROP COLUMN holds;
           ALTER TABLE harvester.harvest_set DROP COLUMN reconciled_at;
           ALTER TABLE harvester.revision DROP COLUMN seen_modified_at"""
    )
