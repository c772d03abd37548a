"""The types of request members that all dialects share: texts, ids, offsets, limits, times, payloads.

A payload is never parsed and encoded again: its text is taken from the body as a `JsonObject` or a `JsonArray`, stored,
and put into answers unchanged.
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
    InstanceOf,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from log10_server.clock import DAY, microseconds
from log10_server.services.filters import Filter, FilterError, parse_filter
from log10_server.settings import Limits
from log10_server.strict_json import JsonText, value


class JsonObject(JsonText):
    """The text of a JSON object that is stored unchanged, with the order, digits and nulls of its members."""

    __slots__ = ()
    opening: ClassVar[str] = "{"
    named: ClassVar[str] = "an object"
    schema: ClassVar[dict[str, Any]] = {"type": "object", "additionalProperties": True}

    @classmethod
    def check(cls, text: Any) -> Self:
        """The text as an instance of this class. Raises PydanticCustomError for any other JSON value."""
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
    """The text of a JSON array of objects that is stored unchanged."""

    __slots__ = ()
    opening = "["
    named = "an array of objects"
    schema: ClassVar[dict[str, Any]] = {"type": "array", "items": {"type": "object", "additionalProperties": True}}

    @classmethod
    def check(cls, text: Any) -> Self:
        """The text. Raises PydanticCustomError for anything but an array of objects."""
        array = super().check(text)
        try:
            _array_of_objects(str(array))
        except msgspec.ValidationError:
            raise PydanticCustomError("payload", "Must be {named}.", {"named": cls.named}) from None
        except msgspec.MsgspecError:
            # msgspec refuses some JSON that is valid here, such as half of a surrogate pair. In that case the standard
            # library decides.
            if not all(isinstance(item, dict) for item in value(array)):
                raise PydanticCustomError("payload", "Must be {named}.", {"named": cls.named}) from None
        return array


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


def _valid_text(limit: str) -> AfterValidator:
    return AfterValidator(check_text(limit))


def check_text(limit: str) -> Callable[[str, ValidationInfo], str]:
    """Return a validator for texts. `limit` is the name of the member of `Limits` that limits their length in bytes.

    The validator refuses NUL, which the databases can't store, and half of a surrogate pair, which UTF-8 can't encode.
    """

    def check(text: str, info: ValidationInfo) -> str:
        if "\0" in text:
            raise PydanticCustomError("text", "Must not contain the character NUL.")
        if not text.isascii() and _LONE_SURROGATE.search(text):
            raise PydanticCustomError("text", "Must not contain half of a surrogate pair.")
        limits = info.context or _DEFAULT_LIMITS
        max_bytes: int = getattr(limits, limit)
        # A character has at most four bytes, so a text that is much shorter than the limit does not have to be encoded.
        if len(text) > max_bytes or (
            len(text) * 4 > max_bytes and len(text.encode("utf-8", "surrogatepass")) > max_bytes
        ):
            raise PydanticCustomError(
                "text", "Must be at most {max_bytes} bytes of UTF-8 long.", {"max_bytes": max_bytes}
            )
        return text

    return check


_DEFAULT_LIMITS = Limits()
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# These words are part of other paths, so a completion, task or feedback with such an id could not be reached.
RESERVED_IDS = frozenset({".", "..", "ungraded", "batch"})
_FORBIDDEN_IN_IDS = frozenset("/,?#\\")


def fits_id(text: str) -> bool:
    """Return whether a client may choose `text` as an id (docs/api.md, "Limits"). The length is not checked here."""
    return (
        bool(text)
        and text not in RESERVED_IDS
        and _FORBIDDEN_IN_IDS.isdisjoint(text)
        and not has_control_characters(text)
    )


def has_control_characters(text: str) -> bool:
    """Return whether `text` contains a control character.

    These are the characters U+0000 to U+001F and U+007F to U+009F.
    """
    return not text.isprintable() and any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)


def _check_id(text: str) -> str:
    if not fits_id(text):
        raise PydanticCustomError(
            "id",
            "Must be an id: not blank, no control character, none of / , ? # \\, and not '.', '..', 'ungraded', 'batch'.",
        )
    return text


def _check_count(limit: str) -> AfterValidator:
    def check(items: list[Any], info: ValidationInfo) -> list[Any]:
        max_items: int = getattr(info.context or _DEFAULT_LIMITS, limit)
        if len(items) > max_items:
            raise PydanticCustomError("count", "Must have at most {limit} items.", {"limit": max_items})
        return items

    return AfterValidator(check)


# An export may contain feedback on more completions than an upload may match now.
_MAX_MATCHED_IDS = 10_000


def _check_matched_ids(items: list[Any], info: ValidationInfo) -> list[Any]:
    limits = info.context or _DEFAULT_LIMITS
    max_items = max(limits.matched_completions, _MAX_MATCHED_IDS)
    if len(items) > max_items:
        raise PydanticCustomError("count", "Must have at most {limit} items.", {"limit": max_items})
    return items


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise PydanticCustomError("number", "Must be a number within the range of a double.")
    return number


def _clamp(number: Any) -> Any:
    return 10**18 if number == math.inf or (type(number) is int and number > 10**18) else number


# Types of members of bodies.
Id = Annotated[str, AfterValidator(_check_id), _valid_text("id_bytes")]
SessionId = Annotated[str, _valid_text("session_id_bytes")]
Name = Annotated[str, _valid_text("name_bytes")]
LongText = Annotated[str, _valid_text("text_bytes")]
Tag = Annotated[str, _valid_text("tag_bytes")]
Tags = Annotated[list[Tag], _check_count("tags")]
SelectorTags = Annotated[list[Tag], _check_count("selector_tags")]
AnyText = Annotated[str, _valid_text("text_bytes")]
MaybeText = Annotated[AnyText | None, AfterValidator(lambda text: text if text and text.strip() else None)]
CompletionIds = Annotated[list[AnyText], _check_count("completion_ids")]
MatchedIds = Annotated[list[AnyText], AfterValidator(_check_matched_ids)]
Seconds = Annotated[float, AfterValidator(_finite)]
AtLeastOne = Annotated[int, BeforeValidator(_clamp), Field(ge=1)]
AtLeastZero = Annotated[int, BeforeValidator(_clamp), Field(ge=0)]


def _whole_number(text: Any) -> Any:
    """Return the integer in a query parameter.

    A number with more than 18 digits becomes 10**18 or -10**18, because Python refuses to convert thousands of digits,
    and the databases only have 64 bits. These values are beyond every limit, just like the number itself, so the result
    of the request is the same.
    """
    if isinstance(text, str):
        sign, digits = (text[:1], text[1:]) if text[:1] in {"+", "-"} else ("", text)
        if not (digits.isascii() and digits.isdigit()):
            raise PydanticCustomError("number", "Must be a whole number.")
        digits = digits.lstrip("0") or "0"
        return 10**18 * (-1 if sign == "-" else 1) if len(digits) > 18 else int(sign + digits)
    return text


# This matches a date (of the calendar, or of a week), and possibly a time after it. `datetime.fromisoformat` alone
# would accept too much: it takes a week without a day as its Monday, and any character instead of the "T", so it would
# read `2026-01-31+02:00` as 02:00 in UTC.
_DATE_AND_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-W[0-9]{2}-[0-9]|[0-9]{4}W[0-9]{3})(?:[T ](?P<time>.+))?"
)
# A plus sign before a time zone becomes a space in a query, unless the client escapes it. This finds such a space.
_SPACE_FOR_PLUS = re.compile(r"(?P<seconds>:[0-9]{2}(?:\.[0-9]+)?) (?P<zone>[0-9]{2}:?[0-9]{2})$")


def _instant(text: Any) -> tuple[int, bool]:
    """Convert a time in ISO 8601 to microseconds since 1970, and say whether `text` is a date without a time.

    A date without a time means the first instant of that day in UTC. Raises PydanticCustomError for any other text.
    """
    parts = None
    if isinstance(text, str):
        parts = _DATE_AND_TIME.fullmatch(_SPACE_FOR_PLUS.sub(r"\g<seconds>+\g<zone>", text.strip()))
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


def _value_filter(text: Any) -> Filter:
    try:
        return parse_filter(text)
    except FilterError as error:
        raise PydanticCustomError("filter", "{reason}.", {"reason": str(error)}) from None


def in_query(type_name: str, **keywords: Any) -> WithJsonSchema:
    """Return the schema of a query parameter for the OpenAPI document.

    Without it the document would describe the Python type.
    """
    return WithJsonSchema({"type": type_name, **keywords})


# Types of query parameters.
Offset = Annotated[int, BeforeValidator(_whole_number), Field(ge=0), in_query("integer", minimum=0)]
Limit = Annotated[int, BeforeValidator(_whole_number), Field(ge=1), in_query("integer", minimum=1)]
# The inclusive ends of a range of time, in microseconds. A date without a time stands for the whole day in UTC: as the
# start it means the first instant of that day, as the end the last (docs/api.md, "Lists").
RangeStart = Annotated[int, BeforeValidator(_range_start), in_query("string", format="date-time")]
RangeEnd = Annotated[int, BeforeValidator(_range_end), in_query("string", format="date-time")]
Flag = Annotated[bool, BeforeValidator(_flag), in_query("boolean")]
QueryText = AnyText
# A condition on the values of feedback, in the language that `services/filters` describes.
ValueFilter = Annotated[
    InstanceOf[Filter], BeforeValidator(_value_filter), BeforeValidator(check_text("text_bytes")), in_query("string")
]
