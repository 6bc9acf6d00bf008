"""A night's deadline lies after its opening; what was looked at of a candidate; what keeps an alias from a version."""

from alembic import op

revision = "0008"
down_revision = "0007"

SCHEMA = """
SET search_path TO harvester;

UPDATE night SET deadline_at = opened_at + interval '1 minute' WHERE deadline_at <= opened_at;
ALTER TABLE night ADD CONSTRAINT night_deadline_after_opening CHECK (deadline_at > opened_at);

ALTER TABLE attempt
    ADD COLUMN looked_at timestamptz,                   -- when somebody last looked at this rejected candidate
    ADD COLUMN looked json,                             -- and its figures then
    ADD COLUMN tally json;                              -- each of its records under one word

ALTER TABLE search_report
    ADD COLUMN mend text NOT NULL DEFAULT '',           -- of its reason, or of the hindrance
    ADD COLUMN hindrance text NOT NULL DEFAULT '',      -- why the aliases could not be moved to it, tried last
    ADD COLUMN hindered_at timestamptz;                 -- since when
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        """ALTER TABLE harvester.night DROP CONSTRAINT night_deadline_after_opening;
           ALTER TABLE harvester.attempt DROP COLUMN looked_at, DROP COLUMN looked, DROP COLUMN tally;
           ALTER TABLE harvester.search_report DROP COLUMN mend, DROP COLUMN hindrance, DROP COLUMN hindered_at"""
    )
