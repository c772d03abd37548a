"""The types of request members that all dialects share: texts, ids, offsets, limits, times, payloads.

A payload is never parsed and rebuilt: it is read from the body as `JsonObject` or `JsonArray`, stored as that text, and
put into answers as that text.
"""

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, get_args

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from log10_server.clock import DAY, microseconds
from log10_server.services.filters import FilterError, Predicate, parse_filter
from log10_server.settings import Limits
from log10_server.strict_json import JsonText, value


class JsonObject(JsonText):
    """A JSON object that passes through; its members keep their order, digits and nulls."""

    __slots__ = ()
    opening: ClassVar[str] = "{"
    named: ClassVar[str] = "an object"
    schema: ClassVar[dict[str, Any]] = {"type": "object", "additionalProperties": True}

    @classmethod
    def check(cls, text: Any) -> Self:
        if not isinstance(text, str) or not text.startswith(cls.opening):
            raise PydanticCustomError("payload", "Must be {named}.", {"named": cls.named})
        return cls(text)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.check)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _core: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(cls.schema)


class JsonArray(JsonObject):
    """A JSON array of objects that passes through."""

    __slots__ = ()
    opening = "["
    named = "an array of objects"
    schema: ClassVar[dict[str, Any]] = {"type": "array", "items": {"type": "object", "additionalProperties": True}}

    @classmethod
    def check(cls, text: Any) -> Self:
        found = super().check(text)
        try:
            _array_of_objects(str(found))
        except msgspec.ValidationError:
            raise PydanticCustomError("payload", "Must be {named}.", {"named": cls.named}) from None
        except msgspec.MsgspecError:  # a lone surrogate, say: the standard library reads on
            if not all(isinstance(item, dict) for item in value(found)):
                raise PydanticCustomError("payload", "Must be {named}.", {"named": cls.named}) from None
        return found


_array_of_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


class RequestModel(BaseModel):
    """The base of request bodies. Types are strict, unknown members are ignored, and `null` means left out."""

    model_config = ConfigDict(strict=True, extra="ignore")

    payloads: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_kwargs: Any) -> None:
        names = {field.alias or name for name, field in cls.model_fields.items() if _is_payload(field.annotation)}
        cls.payloads = frozenset(names)


def _is_payload(annotation: Any) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, JsonText)
    return any(_is_payload(part) for part in get_args(annotation))


def _check_text(limit: str) -> AfterValidator:
    return AfterValidator(_text_check(limit))


def _text_check(limit: str) -> Callable[[str, ValidationInfo], str]:
    """A check of texts; `limit` is the name of the limit of their length in `Limits`."""

    def check(text: str, info: ValidationInfo) -> str:
        if "\0" in text:
            raise PydanticCustomError("text", "Must not hold the character NUL.")
        if not text.isascii() and _LONE_SURROGATE.search(text):
            raise PydanticCustomError("text", "Must not hold half of a surrogate pair.")
        limits = info.context or _DEFAULT_LIMITS
        most: int = getattr(limits, limit)
        if len(text) > most or (len(text) * 4 > most and len(text.encode("utf-8", "surrogatepass")) > most):
            raise PydanticCustomError("text", "Must be at most {most} bytes of UTF-8 long.", {"most": most})
        return text

    return check


_DEFAULT_LIMITS = Limits()
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Words that stand for something else in a path, so that no completion, task or feedback may be called so.
RESERVED_IDS = frozenset({".", "..", "ungraded", "batch"})
_NEVER_IN_IDS = frozenset("/,?#\\")


def fits_id(text: str) -> bool:
    """Whether a client may make `text` an id (docs/api.md, "Limits"), whatever its length."""
    return (
        bool(text) and text not in RESERVED_IDS and _NEVER_IN_IDS.isdisjoint(text) and not has_control_characters(text)
    )


def has_control_characters(text: str) -> bool:
    """Whether a character of `text` is in the Unicode category of control characters (U+0000 to U+001F, U+007F to U+009F)."""
    return not text.isprintable() and any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)


def _check_id(text: str) -> str:
    if not fits_id(text):
        raise PydanticCustomError(
            "id",
            "Must be an id: not blank, no control character, none of / , ? # \\, and not '.', '..', 'ungraded', 'batch'.",
        )
    return text


def _check_count(most: str) -> AfterValidator:
    def check(items: list[Any], info: ValidationInfo) -> list[Any]:
        limit: int = getattr(info.context or _DEFAULT_LIMITS, most)
        if len(items) > limit:
            raise PydanticCustomError("count", "Must hold at most {limit} items.", {"limit": limit})
        return items

    return AfterValidator(check)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise PydanticCustomError("number", "Must be a number within the range of a double.")
    return number


def _small_enough(number: Any) -> Any:
    return 10**18 if number == math.inf or (type(number) is int and number > 10**18) else number


# In bodies.
Id = Annotated[str, AfterValidator(_check_id), _check_text("id_bytes")]
SessionId = Annotated[str, _check_text("session_id_bytes")]
Name = Annotated[str, _check_text("name_bytes")]
LongText = Annotated[str, _check_text("text_bytes")]
Tag = Annotated[str, _check_text("tag_bytes")]
Tags = Annotated[list[Tag], _check_count("tags")]
SelectorTags = Annotated[list[Tag], _check_count("selector_tags")]
AnyText = Annotated[str, _check_text("text_bytes")]
MaybeText = Annotated[AnyText | None, AfterValidator(lambda text: text if text and text.strip() else None)]
CompletionIds = Annotated[list[AnyText], _check_count("completion_ids")]
MatchedIds = Annotated[list[AnyText], _check_count("matched_completions")]
Seconds = Annotated[float, AfterValidator(_finite)]
AtLeastOne = Annotated[int, BeforeValidator(_small_enough), Field(ge=1)]
AtLeastZero = Annotated[int, BeforeValidator(_small_enough), Field(ge=0)]


def _whole_number(text: Any) -> Any:
    """An integer. One of more than 18 digits becomes 10**18 or -10**18, which is beyond every limit."""
    if isinstance(text, str):
        sign, digits = (text[:1], text[1:]) if text[:1] in {"+", "-"} else ("", text)
        if not (digits.isascii() and digits.isdigit()):
            raise PydanticCustomError("number", "Must be a whole number.")
        digits = digits.lstrip("0") or "0"
        return 10**18 * (-1 if sign == "-" else 1) if len(digits) > 18 else int(sign + digits)
    return text


# A calendar or week date that names a day, and perhaps a time after it. Python by itself would take a week without a
# day for its Monday, and any character for the "T": of `2026-01-31+02:00` it would read 02:00 in UTC.
_DATE_AND_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-W[0-9]{2}-[0-9]|[0-9]{4}W[0-9]{3})(?:[T ](?P<time>.+))?"
)
# The plus sign before a time zone, which a URL turns into a space unless the client escapes it.
_LOST_PLUS = re.compile(r"(?P<seconds>:[0-9]{2}(?:\.[0-9]+)?) (?P<zone>[0-9]{2}:?[0-9]{2})$")


def _instant(text: Any) -> tuple[int, bool]:
    """Microseconds since 1970 from ISO 8601, and whether `text` is a date without a time, which means its first instant."""
    parts = None
    if isinstance(text, str):
        parts = _DATE_AND_TIME.fullmatch(_LOST_PLUS.sub(r"\g<seconds>+\g<zone>", text.strip()))
    try:
        if parts is None:
            raise ValueError
        time = parts["time"]
        return microseconds(datetime.fromisoformat(f"{parts['date']}T{time or '00:00'}")), time is None
    except (ValueError, OverflowError):
        raise PydanticCustomError(
            "moment", "Must be a date or a time in ISO 8601, such as 2026-01-31 or 2026-01-31T08:00:00+00:00."
        ) from None


def _range_start(text: Any) -> int:
    return _instant(text)[0]


def _range_end(text: Any) -> int:
    instant, is_whole_day = _instant(text)
    return instant + DAY - 1 if is_whole_day else instant


def _flag(text: Any) -> Any:
    if isinstance(text, str):
        if text.lower() not in {"true", "false", "1", "0"}:
            raise PydanticCustomError("flag", "Must be true or false.")
        return text.lower() in {"true", "1"}
    return text


def _value_filter(text: Any) -> Predicate:
    try:
        return parse_filter(text)
    except FilterError as error:
        raise PydanticCustomError("filter", "{why}.", {"why": str(error)}) from None


def in_query(type_name: str, **keywords: Any) -> WithJsonSchema:
    """What the OpenAPI document shows for a query parameter, whose value is text whatever it means."""
    return WithJsonSchema({"type": type_name, **keywords})


# In queries.
Offset = Annotated[int, BeforeValidator(_whole_number), Field(ge=0), in_query("integer", minimum=0)]
Limit = Annotated[int, BeforeValidator(_whole_number), Field(ge=1), in_query("integer", minimum=1)]
# The inclusive ends of a range of time, in microseconds. A date without a time stands for the whole day in UTC: as the
# start it means the first instant of that day, as the end the last (docs/api.md, "Lists").
RangeStart = Annotated[int, BeforeValidator(_range_start), in_query("string", format="date-time")]
RangeEnd = Annotated[int, BeforeValidator(_range_end), in_query("string", format="date-time")]
Flag = Annotated[bool, BeforeValidator(_flag), in_query("boolean")]
QueryText = AnyText
# An expression over the values of feedback, as `services/filters` describes it.
ValueFilter = Annotated[
    Predicate, BeforeValidator(_value_filter), BeforeValidator(_text_check("text_bytes")), in_query("string")
]
