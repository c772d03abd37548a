"""Reads query parameters: all occurrences of each, and, where an endpoint asks for it, no unknown ones (docs/api.md, "Errors")."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from log10_server.errors import FieldError, Invalid, pointer
from log10_server.settings import Limits

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_MAX_REPORTED = 10
_MAX_NAME_SHOWN = 100


def refuse_unknown_parameters(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint that answers an unknown query parameter with 422, as every GET does that Log10 did not have.

    Ignoring a misspelt filter would answer everything, and the caller could take that for what was asked.
    """
    endpoint.__dict__[_MARK] = True
    return endpoint


def refuses_unknown_parameters(endpoint: Callable[..., Any]) -> bool:
    """Whether the endpoint has the mark of `refuse_unknown_parameters`."""
    return _MARK in endpoint.__dict__


_MARK = "log10_refuses_unknown_parameters"


def check_names(query: Iterable[tuple[str, str]], model: type[BaseModel] | None, others: Iterable[str]) -> None:
    """Raises Invalid for the names in `query` that are neither parameters of the model nor among the `others`."""
    known = [*(model.model_fields if model else ()), *others]
    unknown = [name for name in dict.fromkeys(name for name, _ in query) if name not in known]
    if unknown:
        faults = [_unknown(name, known) for name in unknown[:_MAX_REPORTED]]
        raise Invalid(faults, more=len(unknown) - len(faults))


def _unknown(name: str, known: Sequence[str]) -> FieldError:
    shown = name if len(name) <= _MAX_NAME_SHOWN else name[:_MAX_NAME_SHOWN] + "…"
    nearest = get_close_matches(shown.lower(), known, n=1)
    if nearest:
        hint = f"did you mean `{nearest[0]}`?"
    elif len(known) == 1:
        hint = f"the only one here is `{known[0]}`."
    else:
        hint = f"those here are {', '.join(f'`{other}`' for other in known[:-1])} and `{known[-1]}`."
    return FieldError("/query" + pointer(shown), f"There is no query parameter `{shown}`; {hint}")


Model = TypeVar("Model", bound=BaseModel)


def read_query(model: type[Model], query: Iterable[tuple[str, str]], limits: Limits) -> Model:
    """The parameters of a query as a `model`. Names that it does not have are ignored.

    A blank value, and the word `None`, count as not given. Of a parameter that is not a list the last value counts, and
    the earlier ones are checked too: an unreadable value must not go unnoticed because another one follows. Raises
    Invalid with all that is wrong.
    """
    contents: dict[str, list[str]] = {}
    for name, content in query:
        if name in model.model_fields and content.strip() not in {"", "None"}:
            contents.setdefault(name, []).append(content)
    values = {name: texts if _is_list(model, name) else texts[-1] for name, texts in contents.items()}
    faults: dict[FieldError, None] = {}
    read: Model | None = None
    try:
        read = model.model_validate(values, context=limits)
    except ValidationError as error:
        faults.update(dict.fromkeys(_faults(error)))
    for name, texts in contents.items():
        if len(texts) > 1 and not _is_list(model, name):
            for text in dict.fromkeys(texts[:-1]):
                faults.update(dict.fromkeys(_faults_of_parameter(model, {**values, name: text}, name, limits)))
    if read is None or faults:
        raise Invalid(faults)
    return read


def _is_list(model: type[BaseModel], name: str) -> bool:
    return get_origin(model.model_fields[name].annotation) is list


def _faults_of_parameter(model: type[BaseModel], values: dict[str, Any], name: str, limits: Limits) -> list[FieldError]:
    """What is wrong with the value of the parameter `name`."""
    try:
        model.model_validate(values, context=limits)
    except ValidationError as error:
        at = "/query" + pointer(name)
        return [fault for fault in _faults(error) if fault.path == at or fault.path.startswith(at + "/")]
    return []


def _faults(error: ValidationError) -> Iterator[FieldError]:
    """What pydantic found. The items of a list are occurrences of one parameter and have no number in the path."""
    for details in error.errors(include_url=False, include_context=False, include_input=False):
        parts = [part for part in details["loc"] if isinstance(part, str)]
        yield FieldError("/query" + pointer(*parts), details["msg"])
