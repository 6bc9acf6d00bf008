"""The search index: which index holds which version, what could not be indexed, how the last builds ended."""

from alembic import op

revision = "0003"
down_revision = "0002"

SCHEMA = """
SET search_path TO harvester;

CREATE TABLE search_store (                             -- marks indices as this store's own, on a shared cluster
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    store_id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO search_store DEFAULT VALUES;

CREATE TABLE search_index (
    name       text PRIMARY KEY,
    entity     text NOT NULL,
    version_id bigint REFERENCES dataset_version ON DELETE SET NULL,  -- what it holds; NULL: unfinished, or let go
    moving_to  bigint,                                  -- a patch in place is under way to this version
    definition bytea NOT NULL,                          -- hash over its settings and mappings
    made_at    timestamptz NOT NULL
);
CREATE INDEX search_index_of_version ON search_index (version_id);

CREATE TABLE search_rejected (                          -- what the server did not take; sent again at each release
    name   text NOT NULL REFERENCES search_index ON DELETE CASCADE,
    doc_id bigint NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (name, doc_id)
);

CREATE TABLE search_report (                            -- how bringing up the index of a version ended, last
    version_id bigint PRIMARY KEY REFERENCES dataset_version ON DELETE CASCADE,
    outcome    text NOT NULL CHECK (outcome IN ('none', 'ready', 'failed')),
    reason     text NOT NULL,
    at         timestamptz NOT NULL
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(
        "DROP TABLE harvester.search_report, harvester.search_rejected, harvester.search_index, harvester.search_store"
    )
