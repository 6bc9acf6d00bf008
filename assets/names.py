"""Every name that Dagster knows something by: assets, checks, groups, ops, jobs, schedules, sensors, tags.

Belongs here: the words, each once, and nothing that acts. They are keys of what Dagster has recorded (materializations,
runs, ticks, the order of its queue): a name that changes begins a history of its own. A task's asset is called as its
row of the task table, and an entity's as its row of the catalog. Dagster's rules for names:
https://docs.dagster.io/api/dagster/assets and https://docs.dagster.io/guides/build/assets/metadata-and-tags/tags
"""

# The one partition dimension, and the one resource that assets and sensors ask for (the name of their parameter).
SOURCE_SET = "source_set"
HARVESTER = "harvester"

# Assets.
HARVEST = "harvest"
DEACTIVATE_INVALID_PRODUCTS = "deactivate_invalid_products"
CREATE_OPENSEARCH_INDEX = "create_opensearch_index"
SET_CURRENT_DATASET_VERSION = "set_current_dataset_version"
VOCABULARIES = "vocabularies"
JOURNALS = "journals"
ACCESS_DECISIONS = "access_decisions"
ACCESS_UPDATES = "access_updates"


def documents_of(entity: str) -> list[str]:
    """The key of the asset that holds what was extracted: `products/documents`."""
    return [entity, "documents"]


def set_of(entity: str) -> list[str]:
    """The key of the asset that holds what was accepted: `products/set`."""
    return [entity, "set"]


# Checks.
SOURCE_ANSWERED = "source_answered"
CHECK_SET_INTEGRITY = "check_set_integrity"
INDEX_VERIFIED = "index_verified"
ALL_SETS_FRESH = "all_sets_fresh"
SEARCH_FOLLOWS = "search_follows"
VOCABULARIES_TAKEN_OVER = "vocabularies_taken_over"
JOURNALS_VALID = "journals_valid"
UPDATES_APPLIED = "updates_applied"

# Groups. An entity's documents and tasks are in a group that is called as the entity.
HARVEST_GROUP = "harvest"
OUTPUTS_GROUP = "products"
RELEASE_GROUP = "release"
VOCABULARIES_GROUP = "vocabularies"
METASTORE_GROUP = "metastore"


def accepted_group(entity: str) -> str:
    """A group for each `ENTITY/set`: the UI shows a key's last part only, and two are `set`."""
    return f"accepted_{entity}"


# Ops, where they make more than the one asset that they would be called after.
DOCUMENTS_OP = "documents"
SETS_OP = "sets"
ACCESS_OP = "access"
ACCEPT_CANDIDATE_OP = "accept_candidate"
ROLL_BACK_OP = "roll_back"
MEND_OP = "mend_what_was_cut"
RECONCILE_SET_OP = "reconcile_with_source"
RETRY_RESULTS_OP = "retry_results"

# Hooks: what a run does when one of its steps failed.
SET_RUN_FAILED = "set_run_failed"
RELEASE_FAILED = "release_failed"
RUN_AGAIN = "run_again"


def normalize_op(entity: str) -> str:
    """The op of an entity's tasks that go through its documents in one pass."""
    return f"normalize_{entity}"


# Jobs.
HARVEST_SET_JOB = "harvest_set"
RELEASE_JOB = "release"
HARVEST_VOCABULARIES_JOB = "harvest_vocabularies"
DECIDE_ACCESS_JOB = "decide_access"
ACCEPT_JOB = "accept"
ROLLBACK_JOB = "rollback"
MEND_JOB = "mend"
RECONCILE_JOB = "reconcile_set"
RETRY_JOB = "retry"

# Schedules and sensors.
NIGHTLY = "nightly"
VOCABULARIES_WEEKLY = "vocabularies_weekly"
RECONCILE_DAILY = "reconcile_daily"
NIGHT_WATCH = "night_watch"
DAY_WORK = "day_work"


def access_schedule(endpoint: str, mode: str) -> str:
    """Dagster takes letters, digits and `_`; endpoints may have `-` and `.` too."""
    return f"access_{endpoint.replace('-', '_').replace('.', '_')}_{mode}"


# Tags of runs: a night's number, and the tick that it is named by; the set and source of a set's run; what a release
# was asked by; who began a run.
NIGHT_TAG = "harvest/night"
TICK_TAG = "harvest/tick"
SET_TAG = "harvest/set"
SOURCE_TAG = "harvest/source"
RELEASE_TAG = "harvest/release"
RETRY_TAG = "harvest/retry"
ORIGIN_TAG = "harvest/origin"
PAGE = "page"
"""The origin of a run that somebody began on our pages; of one that a command began it is `command`."""
ENDPOINT_TAG = "access/endpoint"
"""A run queue may limit runs by it; the endpoint's own lock keeps them apart anyway."""
REQUEST_TAG = "access/request"
"""The run that somebody asked for on the pages; without it, it is one of Dagster's own."""

# Dagster's own, for which it exports no name.
SCHEDULE_TAG = "dagster/schedule_name"
PARTITION_TAG = "dagster/partition"
WILL_RETRY_TAG = "dagster/will_retry"
RUN_AGAIN_TAG = "dagster/retry_on_asset_or_op_failure"
MAX_RETRIES_TAG = "dagster/max_retries"
FAILURE_REASON_TAG = "dagster/failure_reason"
