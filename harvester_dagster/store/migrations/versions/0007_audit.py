"""What people did: who, when, what, to what, from where, and what came of it."""

from alembic import op

revision = "0007"
down_revision = "0006"

SCHEMA = """
SET search_path TO harvester;

CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor    text NOT NULL CHECK (actor <> ''),         -- "cli:USER", "local", "token:NAME", the variable of the token
    act      text NOT NULL CHECK (act <> ''),
    subject  text NOT NULL,                             -- a set's key, an SRN, a version, an endpoint
    address  text NOT NULL,                             -- from where: a host, or this machine's name
    outcome  text NOT NULL CHECK (outcome IN ('done', 'refused', 'failed')),
    detail   jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_at ON audit (at);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SCHEMA)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("DROP TABLE harvester.audit")
