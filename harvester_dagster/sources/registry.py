"""Every kind of source, in plain sight: `kind = "…"` in the configuration.

A new metadata format of OAI-PMH is a name in its line, a new kind is one line. Does not belong here: anything else.
"""

from collections.abc import Mapping

from harvester_dagster.sources import lom, oai_dc, oai_pmh, sharekit
from harvester_dagster.sources.kind import Kind

KINDS: Mapping[str, Kind] = {
    "oai-pmh": oai_pmh.kind(lom.FORMAT, oai_dc.FORMAT),
    "sharekit": sharekit.KIND,
}
