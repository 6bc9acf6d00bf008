"""The access enricher: endpoints, their journals, decisions, runs."""

from alembic import op

revision = "0002"
down_revision = "0001"

SCHEMA = """
SET search_path TO harvester;

CREATE TABLE access_endpoint (
    endpoint_id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                text NOT NULL UNIQUE,
    journals_generation int NOT NULL DEFAULT 0,         -- grows with each read of the journals that found a change
    journals_at         timestamptz,                    -- when they were read last
    watermark           bigint,                         -- each document with a _version_ up to it is decided or due;
                                                        -- NULL: the index was never read whole
    decided_generation  int NOT NULL DEFAULT 0,         -- what each decision knows of the journals, unless it is due
    basis               text NOT NULL DEFAULT '',       -- rules and sources of knowledge of the last complete run
    writers             int,                            -- what was found best: writers, documents a batch, and the
    batch               int,                            --   documents per second they reached
    rate                real
);

CREATE TABLE journal (
    endpoint_id   int NOT NULL REFERENCES access_endpoint ON DELETE CASCADE,
    id            text COLLATE "C" NOT NULL,            -- as Solr knows it
    issns         text[] NOT NULL,
    title         text NOT NULL,
    open_access   boolean NOT NULL,
    embargo_years int NOT NULL,
    ranges        json NOT NULL,                        -- [[from year, to year], ...]
    problems      json NOT NULL,                        -- [[kind, what was seen], ...]: for the library to mend
    digest        bytea NOT NULL,
    PRIMARY KEY (endpoint_id, id)
);

CREATE TABLE journal_change (                           -- what an ISSN leads to changed in this generation, last
    endpoint_id int NOT NULL REFERENCES access_endpoint ON DELETE CASCADE,
    issn        text COLLATE "C" NOT NULL,
    generation  int NOT NULL,
    PRIMARY KEY (endpoint_id, issn)
);

CREATE TABLE access_run (
    run_id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id         int NOT NULL REFERENCES access_endpoint ON DELETE CASCADE,
    mode                text NOT NULL,
    state               text NOT NULL CHECK (state IN
        ('requested', 'running', 'complete', 'stopped', 'failed', 'died')),
    requested_at        timestamptz NOT NULL,
    started_at          timestamptz,
    ended_at            timestamptz,
    stop_asked_at       timestamptz,
    continues           bigint REFERENCES access_run ON DELETE SET NULL,
    cursor              text,                           -- all before it is accounted for: where a later run goes on
    watermark           bigint,                         -- the highest _version_ when the walk began
    journals_generation int,                            -- the journals when the walk began
    basis               text NOT NULL DEFAULT '',
    progress            json NOT NULL DEFAULT '{}',
    reason              text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX access_run_one_at_a_time ON access_run (endpoint_id) WHERE state IN ('requested', 'running');
CREATE INDEX access_run_of_endpoint ON access_run (endpoint_id, run_id);

CREATE TABLE access_decision (
    endpoint_id int NOT NULL REFERENCES access_endpoint ON DELETE CASCADE,
    id          text COLLATE "C" NOT NULL,              -- of the Solr document
    version     bigint NOT NULL,                        -- the one that was decided on, or that our update returned
    rule        text NOT NULL,
    valid_until date,                                   -- the first day on which it may differ; 0001-01-01: due now
    issns       text NOT NULL,                          -- by which journals are looked up, separated by spaces
    run_id      bigint NOT NULL,
    PRIMARY KEY (endpoint_id, id)
);
CREATE INDEX access_decision_due ON access_decision (endpoint_id, valid_until, id) WHERE valid_until IS NOT NULL;

CREATE TABLE access_finding (                           -- a document that was skipped or failed, or has bad data
    run_id bigint NOT NULL REFERENCES access_run ON DELETE CASCADE,
    id     text NOT NULL,
    kind   text NOT NULL,
    seen   text NOT NULL DEFAULT ''
);
CREATE INDEX access_finding_of_run ON access_finding (run_id, kind);

CREATE TABLE access_message (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     bigint REFERENCES access_run ON DELETE CASCADE,
    at         timestamptz NOT NULL,
    text       text NOT NULL
);

CREATE TABLE open_access_answer (                       -- of the DOI resolver
    doi         text PRIMARY KEY,
    open_access boolean,                                -- NULL: it does not know the DOI, or calls it malformed
    status      text NOT NULL DEFAULT '',
    asked_at    timestamptz NOT NULL
);
CREATE INDEX open_access_answer_by_time ON open_access_answer (asked_at);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        "DROP TABLE harvester.open_access_answer, harvester.access_message, harvester.access_finding, "
        "harvester.access_decision, harvester.access_run, harvester.journal_change, harvester.journal, "
        "harvester.access_endpoint"
    )
