"""What outputs are made with beside their documents: the settings, and what tasks publish, arranged for look-up.

One `Making` serves all documents of an entity; per document it costs a look-up for each field. Belongs here: which
result gives which field its value, and which result hides its document. Does not belong here: what a field is
(`tasks/published.py`), and what an output looks like beside them (`output.py`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from harvester_dagster.config import Config
from harvester_dagster.documents import object_addresses
from harvester_dagster.documents.texts import KINDS
from harvester_dagster.tasks.published import PublishedField
from harvester_dagster.tasks.task import Result, Task


class Parts(NamedTuple):
    """What an entity owns, for its schema and its index: the field of its output that lists the parts, what one part is
    called, and what the parts' tasks publish. An entity without parts has empty ones."""

    listed: str = ""
    singular: str = ""
    fields: tuple[PublishedField, ...] = ()


def published(tasks: Iterable[Task]) -> tuple[PublishedField, ...]:
    """Each field that tasks of one entity publish, once. Raises ValueError where two tasks declare a field in two
    ways, and for texts of a kind that there is not."""
    fields: dict[str, PublishedField] = {}
    for task in tasks:
        for field in task.publishes:
            if fields.setdefault(field.name, field) != field:
                raise ValueError(f"the task {task.name} declares the field {field.name} in another way than one before")
            if field.place == "texts" and field.name not in KINDS:
                raise ValueError(f"the task {task.name} publishes {field.name}: texts are {', '.join(KINDS)}")
    return tuple(fields.values())


class Making:
    """The settings, what the tasks of one entity publish, and the same of its parts (None: it owns nothing)."""

    def __init__(self, config: Config, entity: str, tasks: Iterable[Task], parts: "Making | None" = None) -> None:
        mine = [task for task in tasks if task.entity == entity]
        self.config, self.entity, self.parts = config, entity, parts
        fields = published(mine)
        self.of_main = tuple(field.name for field in fields if field.place == "main")
        """The fields that the owner shows of its main part."""
        self._defaults = {
            field.name: field.default for field in fields if not (field.optional or field.place == "texts")
        }
        self._address = object_addresses.addressing(config)
        publishing = [(task.name, field) for task in mine for field in task.publishes]
        self._fields = [
            (task, field.name, field.value, field.objects)
            for task, field in reversed(publishing)
            if field.place != "texts" and (self._address or not field.objects)
        ]
        """The preferred tasks last: their values replace others'."""
        self._texts = [(task, field.name, field.value) for task, field in publishing if field.place == "texts"]
        self._hiding = [(task.name, task.hides) for task in mine if task.hides]

    def fields(self, srn: str, results: Mapping[str, Result]) -> dict[str, Any]:
        """What the results of the document of this SRN publish."""
        found = dict(self._defaults)
        if results:
            for task, name, value, objects in self._fields:
                if (result := results.get(task)) and result.kind == "success" and (data := result.data):
                    published = value(data) if value else data.get(name)
                    if published is not None:
                        if objects and self._address:
                            published = object_addresses.addressed(published, srn, self._address)
                        found[name] = published
        return found

    def texts(self, results: Mapping[str, Result]) -> list[tuple[str, str, str | None]]:
        """Kind, text and detected language of each text in a document's results."""
        found = []
        for task, kind, value in self._texts:
            if (result := results.get(task)) and result.kind == "success" and (data := result.data):
                texts = value(data) if value else data.get(kind)
                found += [(kind, text, language) for text, language in texts or ()]
        return found

    def hides(self, results: Mapping[str, Result]) -> bool:
        """Whether a result takes its document out of what consumers see."""
        hidden = False
        for task, hides in self._hiding:
            hidden = hidden or (task in results and hides(results[task], self.config.tasks))
        return hidden
