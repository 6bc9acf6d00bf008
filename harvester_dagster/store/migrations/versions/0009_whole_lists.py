"""Where a harvest that was cut goes on, when its list was asked for, and lists that are shorter than announced."""

from alembic import op

revision = "0009"
down_revision = "0008"

SCHEMA = """
SET search_path TO harvester;

ALTER TABLE page_bundle
    ADD COLUMN beginning int NOT NULL DEFAULT 0 CHECK (beginning >= 0),  -- how often its list had been begun anew
    ADD COLUMN came_by text,                            -- the token or link that led to its last page; NULL: the first
    ADD COLUMN follows text;                            -- the one behind its last page; NULL: the list's end

ALTER TABLE attempt
    ADD COLUMN asked text NOT NULL DEFAULT '',          -- what was asked of whom; only the same is gone on with
    ADD COLUMN asked_at timestamptz,                    -- when its list was begun, where another attempt did that
    ADD COLUMN continues bigint REFERENCES attempt ON DELETE SET NULL,
    ADD COLUMN is_cut boolean NOT NULL DEFAULT false,   -- it failed amid its list, which may be gone on with
    ADD COLUMN is_short boolean NOT NULL DEFAULT false, -- it failed for nothing but the size that its list announced
    ADD CONSTRAINT attempt_asked_before_started CHECK (asked_at <= started_at),
    ADD CONSTRAINT attempt_cut_failed CHECK (NOT (is_cut OR is_short) OR state = 'failed'),
    ADD CONSTRAINT attempt_short_ended CHECK (NOT (is_cut AND is_short));
CREATE UNIQUE INDEX attempt_continued_once ON attempt (continues) WHERE continues IS NOT NULL;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        """ALTER TABLE harvester.page_bundle DROP COLUMN beginning, DROP COLUMN came_by, DROP COLUMN follows;
           ALTER TABLE harvester.attempt DROP COLUMN asked, DROP COLUMN asked_at, DROP COLUMN continues,
               DROP COLUMN is_cut, DROP COLUMN is_short"""
    )
