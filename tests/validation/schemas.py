"""How the tests of schemas ask: drafts, and what is said against a schema or against values."""

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


def of(draft: str, schema: dict[str, Any]) -> str:
    return json.dumps({"$schema": draft, **schema})


def refused(schema: Any) -> list[FieldError]:
    """What `check` says against a schema, which it must."""
    with pytest.raises(Invalid) as refusal:
        check(schema if isinstance(schema, str) else json.dumps(schema))
    assert refusal.value.code == "invalid_schema"
    return refusal.value.faults


def paths(faults: list[FieldError]) -> list[str]:
    return [fault.path for fault in faults]


def faults(schema: Any, values: Any) -> list[FieldError]:
    """What is wrong with values, for a schema that must be good."""
    text = schema if isinstance(schema, str) else json.dumps(schema)
    check(text)
    return compiled(text).faults(values if isinstance(values, str) else json.dumps(values))


def holds(schema: Any, value: Any) -> bool:
    """Whether `value` is valid for `schema`, as a member `x`."""
    draft = {"$schema": schema["$schema"]} if "$schema" in schema else {}
    return not faults(
        {**draft, "properties": {"x": schema | ({"$schema": draft["$schema"]} if draft else {})}}, {"x": value}
    )
