"""The indices of a campus: products by title and language, and files too. Use it with `index.mapping = "campus"`."""

from typing import Any

KEYWORD = {"type": "keyword", "ignore_above": 8191}
TITLE = {"type": "text", "analyzer": "dutch", "fields": {"keyword": KEYWORD}}


def definition(entity: str, index: Any, platform: str) -> dict[str, Any] | None:
    """`index` is the section [index] of harvester.toml, `platform` the installation's; None: the entity has none."""
    if entity not in ("products", "files"):
        return None
    fields = {"srn": KEYWORD, "state": KEYWORD, "title": TITLE, "language": KEYWORD}
    return {
        "settings": {"number_of_shards": index.shards, "number_of_replicas": index.replicas},
        "mappings": {"dynamic": False, "properties": fields},
        "queries": [{"name": "active", "query": {"term": {"state": "active"}}, "minimum_hits": 1}],
    }
