"""The addresses of the drafts, and functions that check schemas and validate values, for all tests of schemas."""

import json
from typing import Any

import pytest

from log10_server.errors import FieldError, Invalid
from log10_server.validation.json_schemas import check, compiled

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_6 = "http://json-schema.org/draft-06/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
DRAFTS = [DRAFT_4, DRAFT_6, DRAFT_7, DRAFT_2019, DRAFT_2020]
OLD_DRAFTS, NEW_DRAFTS = DRAFTS[:3], DRAFTS[3:]


def schema_text(draft: str, schema: dict[str, Any]) -> str:
    """The JSON text of a schema of this draft."""
    return json.dumps({"$schema": draft, **schema})


def schema_errors(schema: Any) -> list[FieldError]:
    """The errors that `check` finds in a schema (an object or its text). The test fails if there are none."""
    with pytest.raises(Invalid) as refusal:
        check(schema if isinstance(schema, str) else json.dumps(schema))
    assert refusal.value.code == "invalid_schema"
    return refusal.value.field_errors


def value_errors(schema: Any, values: Any) -> list[FieldError]:
    """The errors of values for a schema (an object or its text), which must be valid itself."""
    text = schema if isinstance(schema, str) else json.dumps(schema)
    check(text)
    return compiled(text).field_errors(values if isinstance(values, str) else json.dumps(values))


def is_valid(schema: dict[str, Any], value: Any, draft: str = DRAFT_2020) -> bool:
    """Whether `value` is valid for `schema`. Values are objects, so it is validated as their property `x`."""
    return not value_errors(schema_text(draft, {"properties": {"x": schema}}), {"x": value})


def paths(field_errors: list[FieldError]) -> list[str]:
    """The path of each error."""
    return [error.path for error in field_errors]
