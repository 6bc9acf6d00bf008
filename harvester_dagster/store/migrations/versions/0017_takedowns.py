"""What is taken down, since which seq of the publication log, and how far its purge has come."""

from alembic import op

revision = "0017"
down_revision = "0016"

SCHEMA = """
SET search_path TO harvester;

CREATE TABLE takedown (                                 -- what nobody is shown, in whatever version, with what it owns
    doc_id bigint PRIMARY KEY,
    set_id int NOT NULL REFERENCES harvest_set,
    at     timestamptz NOT NULL,
    actor  text NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    purge  text NOT NULL DEFAULT 'none' CHECK (purge IN ('none', 'asked', 'done')),
    mark   bytea,                                       -- a keyed hash of the SRN, by which it is known again
    CHECK ((purge = 'none') = (mark IS NULL))
);
CREATE INDEX takedown_mark ON takedown (set_id) WHERE mark IS NOT NULL;
CREATE INDEX takedown_asked ON takedown (at) WHERE purge = 'asked';

ALTER TABLE publication
    ADD COLUMN takedown boolean NOT NULL DEFAULT false, -- documents went or came back, and no set moved
    DROP CONSTRAINT publication_check,
    ADD CONSTRAINT publication_moves CHECK (to_gen >= 0 AND (to_gen = from_gen) = takedown);
CREATE INDEX publication_takedown ON publication (seq) WHERE takedown;

CREATE TABLE publication_document (                     -- which documents a seq of a takedown, or of its undoing, is of
    seq    bigint NOT NULL,
    doc_id bigint NOT NULL,
    set_id int NOT NULL,
    PRIMARY KEY (seq, doc_id)
);
CREATE INDEX publication_document_of_set ON publication_document (set_id, seq);
CREATE TRIGGER publication_document_append_only BEFORE UPDATE OR DELETE ON publication_document
    FOR EACH STATEMENT EXECUTE FUNCTION publication_is_append_only();

ALTER TABLE search_index                                -- up to which seq it has what was taken down, and back
    ADD COLUMN overlay_seq bigint NOT NULL DEFAULT 0;

CREATE OR REPLACE FUNCTION overwrite_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('harvester.purges', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the log of overwrites is append-only';
END $$;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        """CREATE OR REPLACE FUNCTION harvester.overwrite_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
               RAISE EXCEPTION 'the log of overwrites is append-only';
           END $$;
           ALTER TABLE harvester.search_index DROP COLUMN overlay_seq;
           UPDATE harvester.output o SET published = true FROM harvester.output_body b, harvester.document d,
               harvester.takedown t
           WHERE t.doc_id IN (d.doc_id, d.owner_id) AND o.doc_id = d.doc_id AND b.doc_id = o.doc_id
             AND b.from_gen = o.from_gen AND b.reasons IS NULL;
           UPDATE harvester.generation g SET published = c.published FROM (
               SELECT set_id, gen, json_object_agg(entity, n) AS published FROM (
                   SELECT g.set_id, g.gen, o.entity, count(*) AS n
                   FROM harvester.generation g JOIN harvester.output o ON o.set_id = g.set_id AND o.published
                     AND o.from_gen <= g.gen AND (o.to_gen IS NULL OR o.to_gen > g.gen)
                   WHERE g.set_id IN (SELECT set_id FROM harvester.takedown) GROUP BY 1, 2, 3) n GROUP BY 1, 2) c
           WHERE c.set_id = g.set_id AND c.gen = g.gen AND g.gen >= (
               SELECT least(s.accepted_gen, min(v.gen))
               FROM harvester.harvest_set s LEFT JOIN harvester.dataset_version_set v USING (set_id)
               WHERE s.set_id = g.set_id GROUP BY s.accepted_gen);
           DROP TABLE harvester.publication_document, harvester.takedown;
           ALTER TABLE harvester.publication DISABLE TRIGGER publication_append_only;
           DELETE FROM harvester.publication WHERE takedown;
           ALTER TABLE harvester.publication ENABLE TRIGGER publication_append_only;
           ALTER TABLE harvester.publication DROP COLUMN takedown, ADD CHECK (to_gen >= 0 AND to_gen <> from_gen)"""
    )
