"""Reads query parameters: validates every occurrence, and can refuse unknown names (docs/api.md, "Errors")."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from log10_server.errors import FieldError, Invalid, pointer
from log10_server.settings import Limits

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_MAX_REPORTED = 10
_MAX_NAME_SHOWN = 100


def refuse_unknown_parameters(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint that refuses unknown query parameters with 422.

    Every GET endpoint that is not part of the original Log10 API does this. If a misspelt filter were ignored, the
    caller would get everything, and could take it for the filtered result.
    """
    endpoint.__dict__[_MARK] = True
    return endpoint


def refuses_unknown_parameters(endpoint: Callable[..., Any]) -> bool:
    """Return whether the endpoint was marked with `refuse_unknown_parameters`."""
    return _MARK in endpoint.__dict__


_MARK = "log10_refuses_unknown_parameters"


def check_names(query: Iterable[tuple[str, str]], model: type[BaseModel] | None, others: Iterable[str]) -> None:
    """Raises Invalid if `query` has names that are neither fields of `model` nor in `others`."""
    known = [*(model.model_fields if model else ()), *others]
    unknown = [name for name in dict.fromkeys(name for name, _ in query) if name not in known]
    if unknown:
        field_errors = [_unknown_parameter(name, known) for name in unknown[:_MAX_REPORTED]]
        raise Invalid(field_errors, more=len(unknown) - len(field_errors))


def _unknown_parameter(name: str, known: Sequence[str]) -> FieldError:
    shown = name if len(name) <= _MAX_NAME_SHOWN else name[:_MAX_NAME_SHOWN] + "…"
    nearest = get_close_matches(shown.lower(), known, n=1)
    if nearest:
        hint = f"did you mean `{nearest[0]}`?"
    elif len(known) == 1:
        hint = f"the only one is `{known[0]}`."
    else:
        hint = f"there are {', '.join(f'`{other}`' for other in known[:-1])} and `{known[-1]}`."
    return FieldError("/query" + pointer(shown), f"There is no query parameter `{shown}`; {hint}")


Model = TypeVar("Model", bound=BaseModel)


def read_query(model: type[Model], query: Iterable[tuple[str, str]], limits: Limits) -> Model:
    """Validate the parameters of a query and return an instance of `model`. Unknown names are ignored.

    A blank value and the word `None` count as left out. If a parameter that is not a list occurs several times, its
    last value is used. The earlier values are validated too, so that a valid last value can't hide an invalid earlier
    one. Raises Invalid with all errors.
    """
    is_list = _is_list_by_name(model)
    occurrences: dict[str, list[str]] = {}
    for name, content in query:
        if name in is_list and content.strip() not in {"", "None"}:
            occurrences.setdefault(name, []).append(content)
    values = {name: texts if is_list[name] else texts[-1] for name, texts in occurrences.items()}
    field_errors: dict[FieldError, None] = {}
    read: Model | None = None
    try:
        read = model.model_validate(values, context=limits)
    except ValidationError as error:
        field_errors.update(dict.fromkeys(_field_errors(error)))
    for name, texts in occurrences.items():
        if len(texts) > 1 and not is_list[name]:
            for text in dict.fromkeys(texts[:-1]):
                field_errors.update(
                    dict.fromkeys(_field_errors_of_parameter(model, {**values, name: text}, name, limits))
                )
    if read is None or field_errors:
        raise Invalid(field_errors)
    return read


@cache
def _is_list_by_name(model: type[BaseModel]) -> dict[str, bool]:
    """Return, for the name of each parameter, whether it is a list.

    The result is cached for each class, because looking at annotations is slow.
    """
    return {name: get_origin(field.annotation) is list for name, field in model.model_fields.items()}


def _field_errors_of_parameter(
    model: type[BaseModel], values: dict[str, Any], name: str, limits: Limits
) -> list[FieldError]:
    """Return the errors of the parameter `name`."""
    try:
        model.model_validate(values, context=limits)
    except ValidationError as error:
        path = "/query" + pointer(name)
        return [
            field_error
            for field_error in _field_errors(error)
            if field_error.path == path or field_error.path.startswith(path + "/")
        ]
    return []


def _field_errors(error: ValidationError) -> Iterator[FieldError]:
    """Return the errors of a pydantic validation.

    The items of a list are occurrences of one parameter, so their index is left out of the path.
    """
    for details in error.errors(include_url=False, include_context=False, include_input=False):
        parts = [part for part in details["loc"] if isinstance(part, str)]
        yield FieldError("/query" + pointer(*parts), details["msg"])
