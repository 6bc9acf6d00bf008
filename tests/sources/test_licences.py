"""Licences, access rights and languages as repositories write them."""

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.sources import access_rights, languages, licences

LICENCES = {
    "http://creativecommons.org/licenses/by/3.0": "cc-by-30",
    "See https://creativecommons.org/licenses/by-sa/2.5/nl/deed.en for details": "cc-by-sa-25",
    "https://creativecommons.org/licenses/by-nc": "cc-by-nc",
    "https://creativecommons.org/licenses/by-nd-nc/1.0/": "cc-by-nc-nd-10",
    "https://creativecommons.org/publicdomain/zero/1.0/legalcode": "cc0-10",
    "https://creativecommons.org/publicdomain/mark/1.0/": "pdm-10",
    "https://creativecommons.org/": None,
    "public domain mark": "pdm-10",
    "Publiek domein": "pdm-10",
    "Not in the public domain": None,
    "CC0": "cc0-10",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "cc0-10",
    "Creative Commons Zero v1.0 Universal": "cc0-10",
    "CC0-1.0": "cc0-10",
    "CC-BY-NC-ND-4.0": "cc-by-nc-nd-40",
    "CC-BY-3.0-NL": "cc-by-30",
    "CC BY-NC-ND 4.0": "cc-by-nc-nd-40",
    "cc_by_sa": "cc-by-sa",
    "Creative Commons BY-NC 4.0": "cc-by-nc-40",
    "/dk/atira/pure/core/document/licenses/cc_by_nc_nd": "cc-by-nc-nd",
    "/dk/atira/pure/core/document/licenses/unspecified": "yes",
    "CC Attribution-NonCommercial-ShareAlike 4.0 International license": "cc-by-nc-sa-40",
    "Creative Commons Attribution 4.0 International": "cc-by-40",
    "Attribution 4.0 International (CC BY 4.0)": "cc-by-40",
    "Creative Commons Attribution-Noncommercial-No Derivative Works 3.0": "cc-by-nc-nd-30",
    "This work is licensed under a Creative Commons Attribution-NoDerivatives 4.0 License.": "cc-by-nd-40",
    "Creative Commons Naamsvermelding-NietCommercieel-GelijkDelen 3.0 Nederland": "cc-by-nc-sa-30",
    "Naamsvermelding-NietCommercieel-GeenAfgeleideWerken 4.0 Internationaal": "cc-by-nc-nd-40",
    "Niet commercieel - geen afgeleide werken (CC BY-NC-ND)": "cc-by-nc-nd-40",
    "Niet commercieel - geen afgeleide werken": "cc-by-nc-nd",
    "http://rightsstatements.org/vocab/InC/1.0/": "yes",
    "http://rightsstatements.org/page/InC-EDU/1.0/?language=en": "yes",
    "http://rightsstatements.org/vocab/NoC-US/1.0/": "unknown",
    "https://rightsstatements.org/vocab/CNE/1.0/": "unknown",
    "Copyrighted": "yes",
    "\u00a9 2020 X. All Rights Reserved.": "yes",
    "Alle rechten voorbehouden": "yes",
    "Copyright Not Evaluated": "unknown",
    "Attribution of the author is required": None,
    "accessible by all": None,
    "byebye": None,
    "info:eu-repo/semantics/openAccess": None,
    "http://purl.org/coar/access_right/c_abf2": None,
    "Creative Commons License": None,
    "MIT": None,
    "": None,
}
ACCESS = {
    "info:eu-repo/semantics/openAccess": "OpenAccess",
    "info:eu-repo/semantics/embargoedAccess": "ClosedAccess",
    "http://purl.org/coar/access_right/c_abf2": "OpenAccess",
    "https://purl.org/coar/access_right/c_16ec/": "RestrictedAccess",
    "http://purl.org/coar/access_right/c_14cb": "ClosedAccess",
    "http://purl.org/coar/access_right/c_f1cf": "ClosedAccess",
    "http://purl.org/eprint/accessRights/OpenAccess": "OpenAccess",
    "http://purl.org/eprint/accessRights/RestrictedAccess": "RestrictedAccess",
    "/dk/atira/pure/core/openaccesspermission/open": "OpenAccess",
    "/dk/atira/pure/core/openaccesspermission/indeterminate": "ClosedAccess",
    "open access": "OpenAccess",
    "Open Access (CC BY)": "OpenAccess",
    "openaccess": "OpenAccess",
    "metadata only access": "ClosedAccess",
    "Restricted Access": "RestrictedAccess",
    "not open access": None,
    "All rights reserved": None,
    "open": None,
    "": None,
}
LANGUAGES = {
    "nl": "nl", "nl-NL": "nl", "nl_NL": "nl", "dut": "nl", "nld": "nl", "Nederlands": "nl", "Dutch": "nl",
    "/dk/atira/pure/core/languages/nl_NL": "nl", "EN": "en", "en_US": "en", "eng": "en", "Engels": "en", "en;nl": "en",
    "x-none": None, "und": None, "mul": None, "zxx": None, "/x/languages/und": None, "": None,
    "de_DE": "de", "ger": "de", "fra": "fr", "Klingon": "Klingon",
}  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), [*LICENCES.items(), (None, None)])
def test_licence(written: str | None, expected: str | None) -> None:
    assert licences.code(written) == expected


@pytest.mark.parametrize(("written", "expected"), [*ACCESS.items(), (None, None)])
def test_access(written: str | None, expected: str | None) -> None:
    assert access_rights.read(written) == expected


@pytest.mark.parametrize(("written", "expected"), [*LANGUAGES.items(), (None, None)])
def test_language(written: str | None, expected: str | None) -> None:
    assert languages.code(written) == expected


PIECES = [
    "cc", " ", "-", "by", "nc", "sa", "nd", "4.0", "40", "creative commons ", "attribution", "no", "niet ",
    "derivative",
    "geen afgeleide", "/", "open", "access", "0", "creativecommons.org/licenses/", "(", "public domain", "en",
    "_", "x-none",
]  # fmt: skip
TEXTS = st.text() | st.lists(st.sampled_from(PIECES)).map("".join) | st.sampled_from([*LICENCES, *ACCESS, *LANGUAGES])


@given(TEXTS)
def test_any_text_gives_a_value_that_is_its_own_or_nothing(written: str) -> None:
    for read in (licences.code, access_rights.read, languages.code):
        found = read(written)
        assert found is None or read(found) == found


@pytest.mark.parametrize("part", PIECES)
def test_no_text_takes_long(part: str) -> None:
    started = perf_counter()
    for read in (licences.code, access_rights.read, languages.code):
        read(part * 200_000)
        read("cc by" + part * 200_000)
    assert perf_counter() - started < 2
