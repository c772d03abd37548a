"""`/graphql`: a document is read, checked and executed, and its faults are said without giving anything away.

A refusal of the whole call (401, 403, 405, 413, 415, 400, 422, 503) is an HTTP status with a problem body as everywhere.
All else is 200: a document that can't be executed gives `errors` and no `data`, a fault inside makes its root field null.
"""

import asyncio
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
from pydantic import BaseModel, Field

from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, Invalid, Malformed, NotAllowed, NotFound, Refusal
from log10_server.strict_json import JsonText, value
from log10_server.web.graphql.cost import MOST_TOKENS, too_large
from log10_server.web.graphql.resolvers import SCHEMA, GraphQLContext
from log10_server.web.http.call import Call, RequestCall, base_url
from log10_server.web.http.encoding import json_of
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import QueryText, RequestModel

PATH = "/graphql"
router = APIRouter(prefix=PATH, route_class=Endpoint, include_in_schema=False)

MOST_CHARACTERS = 100_000
_MOST_ERRORS = 20
_DOCUMENTS_KEPT = 64


class Asked(RequestModel):
    """A request of GraphQL over HTTP."""

    query: str = Field(max_length=MOST_CHARACTERS)
    variables: dict[str, Any] | None = None
    operationName: str | None = None


class AskedInQuery(BaseModel):
    query: QueryText = Field(max_length=MOST_CHARACTERS)
    variables: QueryText | None = None
    operationName: QueryText | None = None


@router.post("")
async def post(body: Asked, call: RequestCall) -> Any:
    """Execute a query or a mutation."""
    return await _answer(body, call, may_write=True)


@router.get("")
async def get(query: Annotated[AskedInQuery, Query()], call: RequestCall) -> Any:
    """Execute a query."""
    asked = Asked.model_construct(
        query=query.query, variables=_variables(query.variables), operationName=query.operationName
    )
    return await _answer(asked, call, may_write=False)


def _variables(text: str | None) -> dict[str, Any] | None:
    at = "/query/variables"
    try:
        said = None if text is None else value(text)
    except Malformed as error:
        raise Invalid.at(at, error.detail) from None
    if said is not None and not isinstance(said, dict):
        raise Invalid.at(at, "Must be a JSON object.")
    return said


async def _answer(asked: Asked, call: Call, *, may_write: bool) -> JsonText:
    document = await asyncio.to_thread(_prepared, asked.query)
    if not isinstance(document, DocumentNode):
        return _written(None, document)
    context = call.context
    address = base_url(call.scope, context.runtime.settings)

    def execute(tx: Tx) -> JsonText:
        return _executed(document, asked, GraphQLContext(tx, context.organization, context.limits, address))

    operation = get_operation_ast(document, asked.operationName)
    if operation is None or operation.operation is not OperationType.MUTATION:
        return await context.read(execute)
    if not may_write:
        raise NotAllowed("A mutation is sent with POST.", allow="POST")
    return await context.write(execute)


@lru_cache(_DOCUMENTS_KEPT)
def _prepared(text: str) -> DocumentNode | tuple[GraphQLError, ...]:
    """The document, or why it can't be executed."""
    try:
        document = parse(text, max_tokens=MOST_TOKENS, allow_empty_selection_sets=False)
        if (why := too_large(document)) is not None:
            return (GraphQLError(why, extensions={"code": "too_costly"}),)
        errors = validate(SCHEMA, document, max_errors=_MOST_ERRORS, allow_empty_selection_sets=False)
    except GraphQLError as error:
        return (error,)
    except RecursionError:
        return (GraphQLError("The document is nested too deeply.", extensions={"code": "too_costly"}),)
    return tuple(errors) or document


def _executed(document: DocumentNode, asked: Asked, context: GraphQLContext) -> JsonText:
    result = execute_sync(
        SCHEMA,
        document,
        context_value=context,
        variable_values=asked.variables,
        operation_name=asked.operationName,
    )
    assert isinstance(result, ExecutionResult)
    errors = result.errors or []
    for error in errors:
        # What concerns the whole call is refused as such, and a defect is one: `GraphQLError` would say its text.
        cause = error.original_error
        if cause is not None and not isinstance(cause, (GraphQLError, *_SAID)):
            raise cause
    return _written(result.data, errors)


_SAID = Invalid, NotFound, Conflict


def _written(data: dict[str, Any] | None, errors: Sequence[GraphQLError]) -> JsonText:
    answer: dict[str, Any] = {}
    if errors:
        answer["errors"] = [_said(error) for error in errors]
    if data is not None:
        answer["data"] = data
    return JsonText(json_of(answer))


def _said(error: GraphQLError) -> dict[str, Any]:
    """The error as GraphQL spells it, with a code for programs."""
    cause = error.original_error
    said: dict[str, Any] = dict(error.formatted)
    code = cause.code if isinstance(cause, Refusal) else "invalid_document"
    said["extensions"] = {"code": code, **(error.extensions or {})}
    return said
