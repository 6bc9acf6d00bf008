"""Keeps a copy of what a harvester publishes: python consumer.py https://HARVESTER/api/v1 copy.json

Run it as often as you like: each time it asks for what has changed since, and writes the copy when it is whole. A walk
that was cut short is begun again where the copy stands.
"""

import json
import sys
from pathlib import Path

import requests

TOO_OLD = 410


def brought_up_to_date(api: str, seq: int, documents: dict[str, object]) -> tuple[int, dict[str, object]]:
    """The newest seq, and the documents that are shown at it, from those that were shown at another (0: none)."""
    with requests.Session() as session:
        address = f"{api}/changes/?after={seq}&page_size=1000"
        while address:
            answer = session.get(address, timeout=60)
            if answer.status_code == TOO_OLD:  # away for longer than versions are kept
                return brought_up_to_date(api, 0, {})
            answer.raise_for_status()
            page = answer.json()
            for change in page["results"]:
                if change["action"] == "put":
                    documents[change["srn"]] = change["document"]
                else:
                    documents.pop(change["srn"], None)
            address = page["next"]
        return page["seq"], documents


def main(api: str, file: Path) -> None:
    """One round."""
    seq, documents = json.loads(file.read_text()) if file.exists() else (0, {})
    seq, documents = brought_up_to_date(api.rstrip("/"), seq, documents)
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(json.dumps([seq, documents]))
    beside.replace(file)
    print(f"{len(documents)} documents, as of {seq}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
