"""Who overwrote what of a document, and when; failed results, found by their task."""

from alembic import op

revision = "0012"
down_revision = "0011"

SCHEMA = """
SET search_path TO harvester;

CREATE TABLE overwrite_log (                            -- append-only: every overwrite that was set or taken away
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    doc_id   bigint NOT NULL,
    at       timestamptz NOT NULL,
    actor    text NOT NULL,                             -- '': from before this table, and not in the audit
    fields   json                                       -- NULL: it was taken away
);
CREATE INDEX overwrite_log_of_document ON overwrite_log (doc_id, entry_id);

INSERT INTO overwrite_log (doc_id, at, actor, fields)
SELECT o.doc_id, o.changed_at, coalesce((
           SELECT a.actor FROM audit a WHERE a.act = 'overwrite' AND a.outcome = 'done' AND a.at = o.changed_at
             AND a.subject = s.key || ':' || d.external_id ORDER BY a.audit_id DESC LIMIT 1), ''), o.body
FROM overwrite o LEFT JOIN document d USING (doc_id) LEFT JOIN harvest_set s USING (set_id)
ORDER BY o.changed_at;

INSERT INTO dirty (doc_id, set_id)                      -- flat names and priorities of old overwrites count now
SELECT DISTINCT d.doc_id, d.set_id FROM overwrite o JOIN document of USING (doc_id)
JOIN document d ON d.doc_id IN (of.doc_id, of.owner_id)
ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL;

CREATE FUNCTION overwrite_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log of overwrites is append-only';
END $$;
CREATE TRIGGER overwrite_log_append_only BEFORE UPDATE OR DELETE ON overwrite_log
    FOR EACH STATEMENT EXECUTE FUNCTION overwrite_log_is_append_only();

CREATE INDEX result_failed ON result (task, version)
    WHERE kind IN ('failure', 'retry') OR (reason <> '' AND due_at IS NOT NULL);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        """DROP INDEX harvester.result_failed;
           DROP TABLE harvester.overwrite_log; DROP FUNCTION harvester.overwrite_log_is_append_only"""
    )
