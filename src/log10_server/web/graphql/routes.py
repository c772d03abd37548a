"""Parses, validates and executes the GraphQL documents that are sent to `/graphql`.

If the whole request is refused (401, 403, 405, 413, 415, 400, 422, 503), the answer is a problem document, as on all
other routes. Every other answer has status 200. A document that can't be executed is answered with `errors` and no
`data`. An error in a field makes the root field that contains it null. Errors never contain details of an unexpected
exception.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Query
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    OperationType,
    execute_sync,
    get_operation_ast,
    parse,
    validate,
)
from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, Invalid, Malformed, NotAllowed, NotFound, Refusal
from log10_server.strict_json import JsonText, value
from log10_server.web.graphql.cost import MAX_TOKENS, too_large
from log10_server.web.graphql.resolvers import SCHEMA, GraphQLContext
from log10_server.web.http.call import Call, RequestCall, base_url
from log10_server.web.http.encoding import json_of
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import QueryText, RequestModel, check_text

PATH = "/graphql"
router = APIRouter(prefix=PATH, route_class=Endpoint, include_in_schema=False)

MAX_CHARACTERS = 100_000
_MAX_ERRORS = 20
_CACHED_DOCUMENTS = 64


class GraphQLRequest(RequestModel):
    """The body of a POST, as the specification "GraphQL over HTTP" defines it."""

    query: str = Field(max_length=MAX_CHARACTERS)
    variables: dict[str, Any] | None = None
    operationName: str | None = None


def _parse_variables(text: Any) -> Any:
    try:
        variables = value(text)
    except Malformed as error:
        raise PydanticCustomError("json", "{reason}", {"reason": error.detail}) from None
    if variables is not None and not isinstance(variables, dict):
        raise PydanticCustomError("json", "Must be a JSON object.")
    return variables


class GraphQLQuery(BaseModel):
    """The query parameters of a GET. `variables` is a JSON object."""

    query: QueryText = Field(max_length=MAX_CHARACTERS)
    variables: Annotated[
        dict[str, Any] | None, BeforeValidator(_parse_variables), BeforeValidator(check_text("text_bytes"))
    ] = None
    operationName: QueryText | None = None


@router.post("")
async def post(body: GraphQLRequest, call: RequestCall) -> Any:
    """Execute a query or a mutation."""
    return await _answer(body, call, may_write=True)


@router.get("")
async def get(query: Annotated[GraphQLQuery, Query()], call: RequestCall) -> Any:
    """Execute a query."""
    request = GraphQLRequest.model_construct(
        query=query.query, variables=query.variables, operationName=query.operationName
    )
    return await _answer(request, call, may_write=False)


async def _answer(request: GraphQLRequest, call: Call, *, may_write: bool) -> JsonText:
    """Return the answer as JSON. Raises NotAllowed if the document is a mutation but the request may not write."""
    context = call.context
    address = base_url(call.scope, context.runtime.settings)

    def execute(tx: Tx, document: DocumentNode) -> JsonText:
        return _execute(document, request, GraphQLContext(tx, context.organization, context.limits, address))

    def read(tx: Tx) -> JsonText | DocumentNode:
        """Execute a query. A mutation is only parsed, and returned."""
        # Checking a document can take as long as a long read, so it waits for the turn of its organization too.
        document = _parse_document(request.query)
        if not isinstance(document, DocumentNode):
            return _encode_answer(None, document)
        operation = get_operation_ast(document, request.operationName)
        is_mutation = operation is not None and operation.operation is OperationType.MUTATION
        return document if is_mutation else execute(tx, document)

    result = await context.read_long(read)
    if not isinstance(result, DocumentNode):
        return result
    if not may_write:
        raise NotAllowed("A mutation must be sent with POST.", allow="POST")
    return await context.write(lambda tx: execute(tx, result))


@lru_cache(_CACHED_DOCUMENTS)
def _parse_document(text: str) -> DocumentNode | tuple[GraphQLError, ...]:
    """Return the parsed document, or the errors because of which it can't be executed."""
    try:
        document = parse(text, max_tokens=MAX_TOKENS, allow_empty_selection_sets=False)
        if (reason := too_large(document)) is not None:
            return (GraphQLError(reason, extensions={"code": "too_costly"}),)
        errors = validate(SCHEMA, document, max_errors=_MAX_ERRORS, allow_empty_selection_sets=False)
    except GraphQLError as error:
        return (error,)
    except RecursionError:
        return (GraphQLError("The document is nested too deeply.", extensions={"code": "too_costly"}),)
    return tuple(errors) or document


def _execute(document: DocumentNode, request: GraphQLRequest, context: GraphQLContext) -> JsonText:
    """Execute one operation in the transaction of the context.

    Raises errors that concern the whole request, such as Forbidden, and unexpected exceptions.
    """
    result = execute_sync(
        SCHEMA,
        document,
        context_value=context,
        variable_values=request.variables,
        operation_name=request.operationName,
    )
    assert isinstance(result, ExecutionResult)
    errors = result.errors or []
    for error in errors:
        # A `GraphQLError` shows the message of its cause, and the message of an unexpected exception may contain
        # internal details. So only expected errors of single fields are answered here. All other exceptions are raised
        # again, and refuse the whole request.
        cause = error.original_error
        if cause is not None and not isinstance(cause, (GraphQLError, *_FIELD_REFUSALS)):
            raise cause
    return _encode_answer(result.data, errors)


_FIELD_REFUSALS = Invalid, NotFound, Conflict


def _encode_answer(data: dict[str, Any] | None, errors: Sequence[GraphQLError]) -> JsonText:
    answer: dict[str, Any] = {}
    if errors:
        answer["errors"] = [_error_object(error) for error in errors]
    if data is not None:
        answer["data"] = data
    return JsonText(json_of(answer))


def _error_object(error: GraphQLError) -> dict[str, Any]:
    """Return the error in GraphQL's format. `extensions` has a code that programs can evaluate."""
    cause = error.original_error
    formatted: dict[str, Any] = dict(error.formatted)
    code = cause.code if isinstance(cause, Refusal) else "invalid_document"
    formatted["extensions"] = {"code": code, **(error.extensions or {})}
    return formatted
