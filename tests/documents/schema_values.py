"""Values that a JSON Schema allows, made up from the schema itself: of the words that ours uses, no others."""

import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

TRAPS = (
    *("", " ", "nl", "en", "NL", "nl-NL", "de", "unk", "2020", "2020-05", "2019-02-29", "0000", "9999-12-31", "null"),
    *("https://x.nl/a", "x.nl", "//x.nl/a", "ftp://x.nl", "http://", "javascript:alert(1)", "https://x.nl:99999/"),
    *("http://1.2.3.456/", "https://münchen.de/ü", "https://xn--a.nl/", "https://u@/", "https://x.nl/" + "é" * 1_100),
    *("a@x.nl", "a..b@x.nl", "a@x.test", "a@x_y.nl", "ü@x.nl", "a@[1.2.3.4]", "PT1M3S", "1:03", "63", "00:01:03"),
    *("10.1/x", "doi:10.1/x", "https://doi.org/10.1/x", "urn:nbn:nl:1", "previews/pdf_preview-1/ab/full_size.jpg"),
    *("a:b:c", "a:b:ü:https://x.nl/", "a:b", "Abc"),
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(TRAPS),
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(st.sampled_from(("name", "x", "entity")), inside),
    max_leaves=3,
)


def values(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Of any kind that the schema allows; `whole` has the definitions that it refers to."""
    if reference := schema.get("$ref"):
        return values(whole["$defs"][reference.removeprefix("#/$defs/")], whole)
    if "anyOf" in schema:
        return st.one_of([values(one, whole) for one in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    kinds = schema.get("type")
    if kinds is None:
        return _ANY
    return st.one_of([_of_kind(kind, schema, whole) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _of_kind(kind: str, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if kind == "null":
        return st.none()
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        return st.integers(schema.get("minimum", -10), schema.get("maximum", 10_000))
    if kind == "number":
        return st.integers(0, 9_999) | st.floats(0, 1e6)
    if kind == "string":
        return _strings(schema)
    if kind == "array":
        return st.lists(values(schema.get("items", {}), whole), max_size=3)
    return _objects(schema, whole)


def _strings(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.sampled_from(("2026-11-22T03:00:00Z", "2026-11-22T03:00:00.5+14:00", "0001-01-01T00:00:00+01:00"))
    shortest = schema.get("minLength", 0)
    pattern = schema.get("pattern", "")
    known = st.sampled_from([trap for trap in TRAPS if len(trap) >= shortest and re.search(pattern, trap)])
    return known if pattern else known | st.text(min_size=shortest, max_size=9)


def _objects(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    named, required = schema.get("properties", {}), set(schema.get("required", ()))
    if together := schema.get("dependentRequired"):
        whole_one = st.fixed_dictionaries({name: values(named[name], whole) for name in together})
        return st.just({}) | whole_one
    free = schema.get("additionalProperties", {})
    needed = {name: values(named.get(name, free or {}), whole) for name in required}
    optional = {name: values(one, whole) for name, one in named.items() if name not in required}
    if schema.get("additionalProperties") is not False:
        optional["something_else"] = values(free if isinstance(free, Mapping) else {}, whole)
    return st.fixed_dictionaries(needed, optional=optional)
