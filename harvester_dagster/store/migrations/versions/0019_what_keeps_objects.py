"""What keeps an object: a result says which ones it names, however long it is; since when a vocabulary is of no use.

The results that there are say so by one statement, which reads all of their data once.
"""

from alembic import op

revision = "0019"
down_revision = "0018"

_DIGEST, _MAKER = "[0-9a-f]{64}", "[A-Za-z0-9_]+-[0-9]+"
_NAMED = (
    f"bodies/[0-9a-f]{{2}}/{_DIGEST}|derived/[0-9a-f]{{2}}/{_DIGEST}/{_MAKER}|(?:previews|texts)/{_MAKER}/{_DIGEST}"
)

SCHEMA = f"""
SET search_path TO harvester;

ALTER TABLE result ADD COLUMN names text[];
COMMENT ON COLUMN result.names IS 'the objects that its data names, as `keys.NAMED` has them; null: none';
UPDATE result x SET names = n.names FROM (
    SELECT task, version, fingerprint, array_agg(DISTINCT m[1]) AS names
    FROM result, regexp_matches(data::text, '({_NAMED})', 'g') m
    WHERE data::text LIKE ANY (ARRAY['%%bodies/%%', '%%derived/%%', '%%previews/%%', '%%texts/%%']) GROUP BY 1, 2, 3) n
WHERE n.task = x.task AND n.version = x.version AND n.fingerprint = x.fingerprint;

CREATE TABLE vocabulary_unused (
    object_key text PRIMARY KEY,
    since      timestamptz NOT NULL                     -- the clean-up that first found it so
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        "DROP TABLE harvester.vocabulary_unused; ALTER TABLE harvester.result DROP COLUMN names"
    )
