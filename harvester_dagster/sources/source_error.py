"""Why a source cannot be harvested now: the root of what sources are found to do wrong (`failures.py` shows all)."""

from harvester_dagster.failures import HarvesterError


class SourceError(HarvesterError):
    """A source cannot be harvested now: unreachable, refusing, or not saying what its protocol demands.

    The message names the cause and the mend; the set falls back to its accepted state.
    """
