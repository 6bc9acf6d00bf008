"""A sample index: documents of every format around the recorded ones, the same for the same seed.

Belongs here: the generator for `make run`, the tests and the benchmark, and putting it into a collection.
The recorded documents (recorded/) are from DTU Library's enricher repository; they are partial, so the fields that
select a document (`format`, `superformat_s`, `source_ss`) are put in, and their access starts as undetermined.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from harvester_dagster.access.solr.collection import Solr

RECORDED = Path(__file__).parent / "recorded"
UNDETERMINED = "UNDETERMINED"
_ARTICLE_KINDS = ("openaccess", "research", "publisher", "other", "other", "other")
_WORDS = [
    "acoustics", "biofilm", "catalysis", "dynamics", "enzymes", "fatigue", "granular", "hydrology", "imaging",
    "jets", "kinetics", "lasers", "membranes", "networks", "optics", "polymers", "quantum", "robotics",
    "sensors", "turbines", "uncertainty", "vibration", "wind", "xenon", "yeast", "zeolites",
]  # fmt: skip
_BROKEN = ("{", "[]", "null", '"a text"', '{"type": 7}', '{"fromyear":"19xx"}', "")

Fields = dict[str, Any]


def documents(count: int = 10_000, seed: int = 1) -> Iterator[Fields]:
    """The recorded documents first, then one SFX journal for twenty others, `count` in all."""
    kept = list(recorded())[:count]
    yield from kept
    random = Random(seed)
    journals = [journal(number, random) for number in range(max(1, (count - len(kept)) // 20))]
    left = count - len(kept)
    yield from journals[:left]
    for number in range(left - len(journals)):
        yield document(number, random, journals)


def recorded() -> Iterator[Fields]:
    """The documents that were recorded, as they were before anybody decided about them."""
    for name, form, source in (("articles", "article", "arxiv"), ("journals", "journal", "jnl_alis")):
        for raw in json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8")):
            fields = {key: value for key, value in raw.items() if key not in ("_version_", "score", "timestamp")}
            yield {
                "format": form,
                "superformat_s": "bib",
                "source_ss": [source],
                **fields,
                "fulltext_availability_ss": [UNDETERMINED],
            }


def journal(number: int, random: Random) -> Fields:
    """An invented journal of SFX; a few have no holdings, or broken ones."""
    first = f"{1000_0000 + number * 2:08d}"
    fields: Fields = {
        "id": f"j{number:07d}",
        "cluster_id_ss": [f"7{number:08d}"],
        "format": "journal",
        "superformat_s": "bib",
        "source_ss": ["jnl_sfx"],
        "title_ts": [_title(random, "Journal of")],
        "issn_ss": [first if random.random() < 0.5 else f"{first[:4]}-{first[4:]}"],
        "holdings_ssf": [_holding(random) for _ in range(random.choice((1, 1, 1, 2, 3)))],
        "fulltext_availability_ss": [UNDETERMINED],
    }
    if random.random() < 0.7:
        fields["eissn_ss"] = [f"{1000_0000 + number * 2 + 1:07d}x"[-8:].upper()]
    if random.random() < 0.15:
        fields["title_ts"].append(_title(random, "Open Access Letters on"))
    if random.random() < 0.3:
        fields["embargo_ssf"] = [str(random.choice((180, 365, 366, 730))) for _ in range(random.choice((1, 1, 2)))]
    if random.random() < 0.02:
        del fields["holdings_ssf"]
    if random.random() < 0.02:
        fields.setdefault("holdings_ssf", []).append(random.choice(_BROKEN))
    return fields


def document(number: int, random: Random, journals: list[Fields]) -> Fields:
    """An invented article, book or thesis; articles are of one of the journals, and a few fields are broken."""
    form = random.choices(("article", "book", "thesis"), (90, 6, 4))[0]
    fields: Fields = {
        "id": f"d{number:08d}",
        "cluster_id_ss": [f"3{number:09d}"],
        "format": form,
        "superformat_s": "bib",
        "source_ss": ["ds1", "dtu_sfx" if form == "book" and random.random() < 0.5 else "scopus"],
        "title_ts": [_title(random, "On")],
        "pub_date_tis": [random.randint(1960, 2026)],
        "author_ts": [_title(random, name) for name in ("Hansen", "Nielsen", "Jensen")],
        "abstract_ts": [" ".join(random.choices(_WORDS, k=60))],
        "fulltext_availability_ss": [UNDETERMINED],
    }
    if form == "thesis":
        fields["source_ss"] = random.choice((["orbit_dtu"], ["rdb_ku"], ["ds1"]))
        fields["fulltext_list_ssf"] = [_entry(number, "other")]
    elif form == "book":
        fields["isbn_ss"] = [f"978{number:010d}"]
    else:
        held = random.choice(journals)
        fields["journal_title_ts"] = held["title_ts"][:1]
        for name in ("issn_ss", "eissn_ss"):
            if name in held and random.random() < 0.9:
                fields[name] = held[name]
        if random.random() < 0.4:
            fields["fulltext_list_ssf"] = [_entry(number, random.choice(_ARTICLE_KINDS))]
    if random.random() < 0.01:
        fields["fulltext_list_ssf"] = [random.choice(_BROKEN)]
    if random.random() < 0.01:
        del fields["pub_date_tis"]
    return fields


def _title(random: Random, start: str) -> str:
    return " ".join((start, *random.choices(_WORDS, k=4)))


def _entry(number: int, kind: str) -> str:
    url = f"https://doi.org/10.5555/sample.{number}"
    return json.dumps({"source": "sample", "local": False, "type": kind, "url": url})


def _holding(random: Random) -> str:
    first = random.randint(1950, 2020)
    held = {"fromyear": str(first), "fromvolume": "1", "type": "electronic"}
    if random.random() < 0.5:
        held["toyear"] = str(first + random.randint(0, 30))
    if random.random() < 0.02:
        del held["fromyear"]
    return json.dumps(held)


def load(solr: Solr, documents: Sequence[Fields], batch: int = 2_000) -> None:
    """Put whole documents into a collection, `batch` with a request, and commit. Raises OutsideError."""
    for at in range(0, len(documents), batch):
        solr.add(msgspec.json.encode(documents[at : at + batch]))
    solr.commit()


def fill(solr: Solr) -> None:
    """Put the sample index into a collection that holds nothing yet. Raises OutsideError."""
    if not solr.count(()):
        load(solr, list(documents()))
