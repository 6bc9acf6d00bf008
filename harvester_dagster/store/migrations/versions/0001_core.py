"""The harvester's store: sets, attempts, revisions over generations, results, outputs, versions, nights."""

from alembic import op

revision = "0001"
down_revision = None

SCHEMA = """
SET search_path TO harvester;

CREATE TABLE harvest_set (
    set_id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key             text NOT NULL UNIQUE,               -- source:set; never deleted, only retired
    accepted_gen    int NOT NULL DEFAULT 0 CHECK (accepted_gen >= 0),
    watermark       timestamptz,                        -- start of the last accepted harvest
    refreshed_at    timestamptz,                        -- start of the last accepted full harvest
    mapping_version text NOT NULL DEFAULT '',           -- what the accepted state was extracted with
    output_version  text NOT NULL DEFAULT '',           -- what its outputs were made with
    staged_attempt  bigint,                             -- whose candidate stands at accepted_gen + 1
    retired_at      timestamptz,
    withdrawn_at    timestamptz
);

CREATE TABLE night (
    night_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    opened_at   timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    origin      text NOT NULL CHECK (origin IN ('schedule', 'hand')),
    released_at timestamptz,                            -- its release was requested
    ended_at    timestamptz                             -- its release ended
);

CREATE TABLE night_set (
    night_id bigint NOT NULL REFERENCES night ON DELETE CASCADE,
    set_id   int NOT NULL REFERENCES harvest_set,
    outcome  text,                                      -- how its run ended; NULL while it is awaited
    reason   text NOT NULL DEFAULT '',
    ended_at timestamptz,
    PRIMARY KEY (night_id, set_id)
);

-- One attempt to move a set on: a harvest (full, delta, reset), or day work on what it has (derive, withdraw).
CREATE TABLE attempt (
    attempt_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    set_id          int NOT NULL REFERENCES harvest_set,
    night_id        bigint REFERENCES night ON DELETE SET NULL,
    run_id          text,                               -- the Dagster run that opened it
    mode            text NOT NULL CHECK (mode IN ('full', 'delta', 'reset', 'derive', 'withdraw')),
    why             text NOT NULL DEFAULT '',           -- why this mode
    since           timestamptz,                        -- start of the window asked for; NULL: everything
    started_at      timestamptz NOT NULL,               -- the watermark to commit
    mapping_version text NOT NULL DEFAULT '',
    base_gen        int NOT NULL,                       -- the generation it was made against
    state           text NOT NULL DEFAULT 'open' CHECK (state IN
        ('open', 'fetched', 'staged', 'accepted', 'rejected', 'failed', 'superseded', 'dismissed')),
    fetched_at      timestamptz,
    ended_at        timestamptz,
    pages           int NOT NULL DEFAULT 0,
    records         int NOT NULL DEFAULT 0,
    outputs_made    boolean NOT NULL DEFAULT false,
    accept_at       timestamptz,                        -- when its outputs began to be made: its generation's time
    counts          json,                               -- {entity: {new, changed, unchanged, deleted, ...}}
    verdict         json,                               -- {entity: {n, h, rejected, reason}}
    reason          text NOT NULL DEFAULT '',
    generation      int                                 -- what it became, when accepted with changes
);
CREATE UNIQUE INDEX attempt_one_open ON attempt (set_id) WHERE state IN ('open', 'fetched', 'staged');
CREATE INDEX attempt_of_set ON attempt (set_id, attempt_id);
CREATE INDEX attempt_of_run ON attempt (run_id);

-- Raw pages as they arrived, some megabytes of them to an object.
CREATE TABLE page_bundle (
    attempt_id bigint NOT NULL REFERENCES attempt ON DELETE CASCADE,
    number     int NOT NULL,
    object_key text NOT NULL,
    pages      int NOT NULL,
    PRIMARY KEY (attempt_id, number)
);

CREATE TABLE problem (                                  -- a record that could not be extracted, or was odd
    attempt_id  bigint NOT NULL REFERENCES attempt ON DELETE CASCADE,
    external_id text,
    kind        text NOT NULL CHECK (kind IN ('unreadable', 'note')),
    reason      text NOT NULL
);
CREATE INDEX problem_of_attempt ON problem (attempt_id);
CREATE INDEX problem_of_record ON problem (external_id);

CREATE SEQUENCE doc_id_block INCREMENT BY 1000;          -- ids are taken in blocks of a thousand
CREATE TABLE document (                                 -- the immutable key map: SRN = source:set:external_id
    doc_id      bigint NOT NULL UNIQUE,
    set_id      int NOT NULL,                           -- no REFERENCES: its check was a third of a COPY's time, and
                                                        -- sets are never deleted
    entity      text NOT NULL,
    external_id text COLLATE "C" NOT NULL,
    owner_id    bigint,                                 -- the product of a file
    PRIMARY KEY (set_id, entity, external_id)
);
CREATE INDEX document_of_owner ON document (owner_id) WHERE owner_id IS NOT NULL;

CREATE TABLE revision (                                 -- narrow: the only wide-traffic table that is updated
    doc_id             bigint NOT NULL,
    set_id             int NOT NULL,
    entity             text NOT NULL,
    from_gen           int NOT NULL,
    to_gen             int CHECK (to_gen > from_gen),
    state              text NOT NULL CHECK (state IN ('active', 'inactive', 'skipped')),
    hash               bytea NOT NULL,                  -- over the canonical properties
    hash_gen           int NOT NULL,                    -- the generation that first had this hash: gives modified_at
    raw_hash           bytea,                           -- over mapping version and bytes of the record; NULL: a part
    source_modified_at text,
    PRIMARY KEY (doc_id, from_gen)
) WITH (fillfactor = 80);
ALTER TABLE revision ALTER COLUMN hash SET STATISTICS 0, ALTER COLUMN raw_hash SET STATISTICS 0,
    ALTER COLUMN source_modified_at SET STATISTICS 0;    -- nothing is chosen by them
CREATE UNIQUE INDEX revision_one_open ON revision (doc_id) WHERE to_gen IS NULL;
CREATE INDEX revision_from ON revision (set_id, from_gen);
CREATE INDEX revision_to ON revision (set_id, to_gen) WHERE to_gen IS NOT NULL;

CREATE TABLE body (                                     -- immutable; uncompressed: compression was the cost
    doc_id   bigint NOT NULL,
    from_gen int NOT NULL,
    body     text NOT NULL,                             -- JSON: the properties, and beside them `reason` of a state;
                                                        -- text, for to check it once more was a third of its COPY
    PRIMARY KEY (doc_id, from_gen)
) WITH (toast_tuple_target = 8160);
ALTER TABLE body ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN body SET STATISTICS 1,
    ALTER COLUMN doc_id SET STATISTICS 10, ALTER COLUMN from_gen SET STATISTICS 10;  -- a sample row is a page to read

CREATE TABLE generation (
    set_id      int NOT NULL REFERENCES harvest_set,
    gen         int NOT NULL CHECK (gen > 0),
    attempt_id  bigint REFERENCES attempt ON DELETE SET NULL,
    accepted_at timestamptz NOT NULL,
    published   json NOT NULL,                          -- {entity: documents that consumers see at it}
    PRIMARY KEY (set_id, gen)
);

CREATE TABLE output (
    doc_id    bigint NOT NULL,
    set_id    int NOT NULL,
    entity    text NOT NULL,
    from_gen  int NOT NULL,
    to_gen    int CHECK (to_gen > from_gen),
    published boolean NOT NULL,                         -- false: invalid, kept with its reasons
    hash      bytea NOT NULL,
    made_from bytea NOT NULL,                           -- hash over everything it was made from
    PRIMARY KEY (doc_id, from_gen)
) WITH (fillfactor = 80);
ALTER TABLE output ALTER COLUMN hash SET STATISTICS 0, ALTER COLUMN made_from SET STATISTICS 0;
CREATE UNIQUE INDEX output_one_open ON output (doc_id) WHERE to_gen IS NULL;
CREATE INDEX output_from ON output (set_id, from_gen);
CREATE INDEX output_to ON output (set_id, to_gen) WHERE to_gen IS NOT NULL;

CREATE TABLE output_body (
    doc_id   bigint NOT NULL,
    from_gen int NOT NULL,
    body     text NOT NULL,                             -- JSON
    reasons  text[],                                    -- why it is invalid
    PRIMARY KEY (doc_id, from_gen)
) WITH (toast_tuple_target = 8160);
ALTER TABLE output_body ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN body SET STATISTICS 1,
    ALTER COLUMN doc_id SET STATISTICS 10, ALTER COLUMN from_gen SET STATISTICS 10;

CREATE TABLE result (
    task        text NOT NULL,
    version     int NOT NULL,
    fingerprint bytea NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('success', 'empty', 'failure', 'retry')),
    data        json,
    reason      text NOT NULL DEFAULT '',
    due_at      timestamptz,
    attempts    int NOT NULL DEFAULT 1,
    finished_at timestamptz NOT NULL,
    PRIMARY KEY (task, version, fingerprint),
    CHECK (kind <> 'retry' OR due_at IS NOT NULL)
);
CREATE INDEX result_due ON result (task, version, due_at) WHERE due_at IS NOT NULL;

CREATE TABLE task_use (                                 -- which input of a task a revision has; none: not applicable
    doc_id      bigint NOT NULL,
    from_gen    int NOT NULL,
    task        text NOT NULL,
    set_id      int NOT NULL,
    fingerprint bytea NOT NULL,
    PRIMARY KEY (doc_id, from_gen, task)
);
CREATE INDEX task_use_of_result ON task_use (fingerprint);  -- which covers the task's name

CREATE TABLE task_progress (                            -- lets a night in which nothing changed skip a set's task
    set_id  int NOT NULL REFERENCES harvest_set,
    task    text NOT NULL,
    version text NOT NULL,                              -- task version and the settings it reads
    gen     int NOT NULL,                               -- every revision up to it has its task_use
    settled boolean NOT NULL,                           -- false: a run was cut before its results were stored
    PRIMARY KEY (set_id, task)
);

CREATE TABLE task_report (                              -- how the newest run of a task over a set went, for people
    set_id      int NOT NULL REFERENCES harvest_set,
    task        text NOT NULL,
    finished_at timestamptz NOT NULL,
    looked_at   int NOT NULL,
    reused      int NOT NULL,
    outcomes    json NOT NULL,                          -- {success: 3, retry: 1, "not applicable": 5, ...}
    examples    json NOT NULL,                          -- [[srn, kind, reason], ...] of what failed
    seconds     real NOT NULL,
    PRIMARY KEY (set_id, task)
);

CREATE TABLE stale_use (                                -- a result that a task's input reads has changed
    task   text NOT NULL,
    doc_id bigint NOT NULL,
    set_id int NOT NULL,
    PRIMARY KEY (task, doc_id)
);
CREATE INDEX stale_use_of_set ON stale_use (set_id, task);

CREATE TABLE dirty (                                    -- a result, an overwrite or a file changed: output to be made
    doc_id  bigint PRIMARY KEY,
    set_id  int NOT NULL,
    done_in int                                         -- the candidate generation that has it; NULL: still to do
);
CREATE INDEX dirty_of_set ON dirty (set_id);

CREATE TABLE overwrite (
    doc_id     bigint PRIMARY KEY,
    body       json NOT NULL,
    changed_at timestamptz NOT NULL
);

CREATE TABLE harvester.fetch (
    fetch_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    method     text NOT NULL DEFAULT 'GET',
    url        text NOT NULL,
    validator  text,
    status     int,
    ok         boolean NOT NULL,
    reason     text NOT NULL DEFAULT '',
    media_type text,
    length     bigint,
    digest     bytea,
    fetched_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX fetch_once ON harvester.fetch (md5(url), coalesce(validator, '')) WHERE ok;
CREATE INDEX fetch_of_digest ON harvester.fetch (digest) WHERE digest IS NOT NULL;

CREATE TABLE dataset_version (
    version_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prepared_at  timestamptz NOT NULL,
    code_version text NOT NULL,
    run_id       text,
    night_id     bigint REFERENCES night ON DELETE SET NULL,
    promoted_at  timestamptz,                           -- when it became current the last time
    ceased_at    timestamptz,                           -- when it ceased to be; its age counts from here
    indices      json NOT NULL DEFAULT '{}'             -- {entity: name of the index that holds it}
);
CREATE INDEX dataset_version_of_run ON dataset_version (run_id);

CREATE TABLE current_version (                          -- at most one: promotion is one statement on one row
    only_one   boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version_id bigint NOT NULL REFERENCES dataset_version
);

CREATE TABLE dataset_version_set (
    version_id bigint NOT NULL REFERENCES dataset_version ON DELETE CASCADE,
    set_id     int NOT NULL REFERENCES harvest_set,
    gen        int NOT NULL,
    PRIMARY KEY (version_id, set_id)
);

CREATE TABLE release_hold (                             -- a rollback holds automatic releases
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    since    timestamptz NOT NULL,
    reason   text NOT NULL
);

CREATE TABLE alert (                                    -- what was told to people, once per cause
    cause   text PRIMARY KEY,
    told_at timestamptz NOT NULL,
    body    json NOT NULL
);

CREATE TABLE vocabulary_count (                         -- occurrences in the last promoted version
    field text NOT NULL,
    value text NOT NULL,
    count int NOT NULL,
    PRIMARY KEY (field, value)
);

CREATE TABLE vocabulary_source (                        -- SKOS that is harvested beside those that ship
    name       text PRIMARY KEY,
    object_key text NOT NULL,
    digest     bytea NOT NULL,
    terms      int NOT NULL,
    taken_at   timestamptz NOT NULL,
    refused    text NOT NULL DEFAULT ''                 -- why the newest one was not taken over
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)
