"""The base of answers.

An answer class is typed, is fast to encode, and is the source of the schema in the OpenAPI document.

Answers are built by keyword, so that the type checker notices a member that is missing or has a wrong type. Payloads
are `msgspec.Raw`, whose text is written into the answer unchanged.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from inspect import signature
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """The base of all answers. Write `class Name(Answer, kw_only=True)`, because msgspec subclasses do not inherit it.

    A member without a default is always answered. A member whose default is None is left out when it is None; it is
    never answered as `null`, and its schema says so. The garbage collector does not track answers (`gc=False`), because
    an answer never refers to itself.
    """

    # The example of the schema in the OpenAPI document, where there is one.
    openapi_example: ClassVar[Mapping[str, Any] | None] = None


# Values in examples of answers.
EXAMPLE_ORGANIZATION = "7b0f3c7e-0d5f-4a55-9a43-5d5b1f6f3c11"
EXAMPLE_TIME_MS = 1706688000123

_ANY_OBJECT = {"type": "object", "additionalProperties": True}

# Types of members that hold JSON text: of an object, of an array of objects, and of an array of strings.
ObjectText = Annotated[msgspec.Raw, Meta(extra_json_schema=_ANY_OBJECT)]
ObjectsText = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "array", "items": _ANY_OBJECT})]
StringsText = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "array", "items": {"type": "string"}})]


def example_answer(example: Mapping[str, Any], status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an endpoint, with an example for this endpoint.

    Without them, the OpenAPI document shows the example of the answer class.
    """
    return {status: {"content": {"application/json": {"example": dict(example)}}}}


A = TypeVar("A")


class Reply(NamedTuple, Generic[A]):
    """An answer, and headers to send with it."""

    body: A
    headers: Mapping[str, str]


class Continued(NamedTuple, Generic[A]):
    """An answer with the first items of its list, and the further items, if there are any.

    The further items are JSON texts of several items, joined by commas. If `body` is None, they are the whole answer.
    """

    body: A | None
    more: AsyncGenerator[bytes] | None


def answer_type(endpoint: Callable[..., Any]) -> Any:
    """Return the answer class, or list of answers, in the return annotation of an endpoint; None if it has neither."""
    annotation = signature(endpoint).return_annotation
    if get_origin(annotation) in (Reply, Continued):
        (annotation,) = get_args(annotation)
    (item,) = get_args(annotation) if get_origin(annotation) is list else (annotation,)
    return annotation if isinstance(item, type) and issubclass(item, Answer) else None


_REFERENCE = "#/components/schemas/{name}"


def reference_to(answer: Any) -> dict[str, Any]:
    """Return the schema of an answer as a reference into the components of the OpenAPI document."""
    (schema,), _ = msgspec.json.schema_components([answer], ref_template=_REFERENCE)
    return schema


def component_schemas(answers: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Return the schemas of these answers and of all answers inside them, by name, for the OpenAPI document.

    Raises TypeError if two classes have the same name.
    """
    classes = _classes_in(answers)
    if len({answer.__name__ for answer in classes}) < len(classes):
        raise TypeError(f"Two answers share a name: {sorted(answer.__name__ for answer in classes)}")
    _, schemas = msgspec.json.schema_components(classes, ref_template=_REFERENCE)
    for answer in classes:
        schema = schemas[answer.__name__]
        types = {field.encode_name: field.type for field in msgspec.structs.fields(answer)}
        for name, member in schema.get("properties", {}).items():
            schema["properties"][name] = _with_choices(_without_null(member), types[name])
        if answer.openapi_example is not None:
            schema["example"] = dict(answer.openapi_example)
    return schemas


def _classes_in(annotations: Iterable[Any]) -> list[type[Answer]]:
    """Return all answer classes in the annotations, and in the members of those classes, each once."""
    classes: dict[type[Answer], None] = {}
    waiting = list(annotations)
    while waiting:
        annotation = waiting.pop()
        if not isinstance(annotation, type) or get_origin(annotation) is not None:
            waiting += [part for part in get_args(annotation) if not isinstance(part, str | Meta)]
        elif issubclass(annotation, Answer) and annotation not in classes:
            classes[annotation] = None
            waiting += [field.type for field in msgspec.structs.fields(annotation)]
    return list(classes)


def _without_null(member: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without `null`, for a member that is left out if it is None."""
    if "default" not in member:
        return member
    rest = {name: part for name, part in member.items() if name not in {"anyOf", "default"}}
    choices = [choice for choice in member.get("anyOf", []) if choice != {"type": "null"}]
    return {**choices[0], **rest} if len(choices) == 1 else {**rest, "anyOf": choices}


def _with_choices(member: dict[str, Any], annotation: Any) -> dict[str, Any]:
    """Complete the schema of a member that has one of a few texts.

    It gets a type, and its texts are listed in the order in which they are declared.
    """
    inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return {**member, "type": "string", "enum": list(get_args(inner))} if get_origin(inner) is Literal else member
