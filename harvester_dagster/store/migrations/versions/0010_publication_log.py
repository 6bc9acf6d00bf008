"""The publication log: which generation of each set was shown since when, in the order in which it came about."""

from alembic import op

revision = "0010"
down_revision = "0009"

SCHEMA = """
SET search_path TO harvester;

CREATE TABLE publication (                              -- append-only, written under the promotion lock, never cleaned
    seq        bigint NOT NULL CHECK (seq > 0),         -- one a promotion or rollback
    set_id     int NOT NULL REFERENCES harvest_set,
    at         timestamptz NOT NULL,                    -- later than all before it
    version_id bigint NOT NULL,                         -- what became current; the version itself may be gone
    from_gen   int NOT NULL CHECK (from_gen >= 0),
    to_gen     int NOT NULL CHECK (to_gen >= 0 AND to_gen <> from_gen),
    PRIMARY KEY (seq, set_id)
);
CREATE INDEX publication_of_set ON publication (set_id, seq);
CREATE INDEX publication_at ON publication (at);

CREATE FUNCTION publication_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the publication log is append-only';
END $$;
CREATE TRIGGER publication_append_only BEFORE UPDATE OR DELETE ON publication
    FOR EACH STATEMENT EXECUTE FUNCTION publication_is_append_only();

DROP INDEX output_from, output_to;                      -- with doc_id, changes can be read page by page
CREATE INDEX output_from ON output (set_id, from_gen, doc_id);
CREATE INDEX output_to ON output (set_id, to_gen, doc_id) WHERE to_gen IS NOT NULL;

INSERT INTO publication (seq, set_id, at, version_id, from_gen, to_gen)
SELECT 1, s.set_id, coalesce(v.promoted_at, v.prepared_at), v.version_id, 0, s.gen
FROM current_version c JOIN dataset_version v USING (version_id) JOIN dataset_version_set s USING (version_id)
WHERE s.gen > 0;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        """DROP TABLE harvester.publication; DROP FUNCTION harvester.publication_is_append_only;
           DROP INDEX harvester.output_from, harvester.output_to;
           CREATE INDEX output_from ON harvester.output (set_id, from_gen);
           CREATE INDEX output_to ON harvester.output (set_id, to_gen) WHERE to_gen IS NOT NULL"""
    )
