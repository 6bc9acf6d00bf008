"""What pages ask for when there are many nights: failed results with what they are grouped by, three indices, and
logins that were ended before their time."""

from alembic import op

revision = "0016"
down_revision = "0015"

SCHEMA = r"""
SET search_path TO harvester;

ALTER TABLE result
    ADD COLUMN what text NOT NULL DEFAULT '',           -- the reason without addresses and the count of days
    ADD COLUMN host text NOT NULL DEFAULT '';           -- of the URL of the document that it was made for

UPDATE result x SET
    what = left(regexp_replace(regexp_replace(regexp_replace(
        reason, '\s+', ' ', 'g'), '[a-z]+://[^\s''"]+', '…', 'g'), ' \(day \d+ of \d+\)$', ''), 200),
    host = coalesce((
        SELECT lower(left(substring(b.body::json -> 'properties' ->> 'url'
            FROM '^[a-zA-Z]+://(?:[^/?#]*@)?(\[[^]/?#]*\]|[^/?#:]*)'), 250))
        FROM task_use u JOIN body b USING (doc_id, from_gen)
        WHERE u.fingerprint = x.fingerprint AND u.task = x.task ORDER BY u.doc_id, u.from_gen LIMIT 1), '')
WHERE kind IN ('failure', 'retry') OR (reason <> '' AND due_at IS NOT NULL);

DROP INDEX result_failed;
CREATE INDEX result_failed ON result (task, version, what, host) INCLUDE (fingerprint, due_at)
    WHERE kind IN ('failure', 'retry') OR (reason <> '' AND due_at IS NOT NULL);

CREATE INDEX attempt_of_night ON attempt (night_id, set_id, attempt_id) INCLUDE (state) WHERE night_id IS NOT NULL;
CREATE INDEX attempt_ended ON attempt (ended_at) WHERE mode <> 'push';
CREATE INDEX publication_of_version ON publication (version_id);

CREATE TABLE ended_login (                              -- sessions that somebody has left, until they would have ended
    session text PRIMARY KEY,
    until   timestamptz NOT NULL
);
"""
DOWNGRADE = """
DROP TABLE harvester.ended_login;
DROP INDEX harvester.result_failed, harvester.attempt_of_night, harvester.attempt_ended,
    harvester.publication_of_version;
CREATE INDEX result_failed ON harvester.result (task, version)
    WHERE kind IN ('failure', 'retry') OR (reason <> '' AND due_at IS NOT NULL);
ALTER TABLE harvester.result DROP COLUMN what, DROP COLUMN host;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWNGRADE)
