"""A cache of the schemas of feedback tasks. Its entries never become outdated, because a task's schema can't change."""

from collections import OrderedDict

# Together these two limits bound the cache to 67 million characters.
_MAX_SCHEMAS = 256
_MAX_CHARACTERS = 1 << 18


class SchemaCache:
    """Schemas as JSON text, by organization and task. A full cache drops the least recently used schema."""

    def __init__(self) -> None:
        self._schemas: OrderedDict[tuple[str, str], str] = OrderedDict()

    def find(self, organization_id: str, task_id: str) -> str | None:
        """The schema of a task, or None when it is not in the cache."""
        key = organization_id, task_id
        if key not in self._schemas:
            return None
        self._schemas.move_to_end(key)
        return self._schemas[key]

    def store(self, organization_id: str, task_id: str, json_schema: str) -> None:
        """Add a schema to the cache, unless it has more than 262 144 characters."""
        if len(json_schema) <= _MAX_CHARACTERS:
            self._schemas[organization_id, task_id] = json_schema
            if len(self._schemas) > _MAX_SCHEMAS:
                self._schemas.popitem(last=False)
