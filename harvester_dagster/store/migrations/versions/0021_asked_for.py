"""What was asked for and goes on has a row of its own kind in the audit; a night knows the run of its release that
came to nothing, and why."""

from alembic import op

revision = "0021"
down_revision = "0020"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE audit DROP CONSTRAINT audit_outcome_check;
ALTER TABLE audit ADD CONSTRAINT audit_outcome_check
    CHECK (outcome IN ('asked for', 'done', 'refused', 'failed'));
ALTER TABLE night
    ADD COLUMN failed_run text NOT NULL DEFAULT '',     -- of its release, where that came to nothing
    ADD COLUMN failed_why text NOT NULL DEFAULT '';
"""
DOWNGRADE = """
SET search_path TO harvester;

ALTER TABLE night DROP COLUMN failed_run, DROP COLUMN failed_why;
ALTER TABLE audit DROP CONSTRAINT audit_outcome_check;
UPDATE audit SET outcome = 'done' WHERE outcome = 'asked for';
ALTER TABLE audit ADD CONSTRAINT audit_outcome_check CHECK (outcome IN ('done', 'refused', 'failed'));
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWNGRADE)
