"""Endpoints: routes that read requests and send answers themselves, guided by the signature of a function.

FastAPI registers and documents these routes, but does not handle their requests. It would parse the body before the
caller is authenticated, would parse and encode payloads a second time, and would take longer than everything else that
a request needs.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from fastapi.params import Path, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from log10_server.errors import FieldError, Invalid, pointer
from log10_server.runtime.context import Context
from log10_server.web.http.answers import Continued, Reply, answer_type, reference_to
from log10_server.web.http.body import RequestBody, parse_members, wrong_media_type
from log10_server.web.http.call import Call, call_of
from log10_server.web.http.encoding import body_of
from log10_server.web.http.fields import RequestModel
from log10_server.web.http.problems import InvalidPart
from log10_server.web.http.queries import check_names, read_query, refuses_unknown_parameters
from log10_server.web.http.routing import path_id
from log10_server.web.http.streams import Stream, json_list, require_pieces, wait_until_received

# Encoding an answer with more rows than this would block the event loop for too long, so it runs in a thread.
_MANY_ROWS = 100


class Plan(NamedTuple):
    """A plan of how the arguments of an endpoint are read from a request.

    The fields that end in `_name` are names of arguments. A name is empty if the endpoint has no such argument.
    """

    body: type[RequestModel] | None
    body_name: str
    body_is_required: bool
    query: type[BaseModel] | None
    query_name: str
    paths: dict[str, str]  # names of arguments, by the name of their path parameter
    context_name: str
    call_name: str
    stream_name: str  # the argument for a body that the endpoint reads itself, part by part
    refuses_unknown_parameters: bool  # whether an unknown query parameter is refused

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Plan":
        """Make the plan for a function. Raises TypeError for an argument that can't be read from a request."""
        body: type[RequestModel] | None = None
        query: type[BaseModel] | None = None
        body_is_required = False
        names = dict.fromkeys((Context, Call, RequestBody, RequestModel, BaseModel), "")
        paths: dict[str, str] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            kind, metadata = _split_annotation(parameter.annotation)
            if kind in (Context, Call, RequestBody):
                names[kind] = name
            elif any(isinstance(item, Path) for item in metadata):
                alias = next(item.alias for item in metadata if isinstance(item, Path))
                paths[alias or name] = name
            elif any(isinstance(item, Query) for item in metadata):
                query, names[BaseModel] = kind, name
            elif isinstance(kind, type) and issubclass(kind, RequestModel):
                body, names[RequestModel] = kind, name
                body_is_required = parameter.default is inspect.Parameter.empty
            else:
                raise TypeError(f"{function.__name__}: {name} is not a body, a query, a path parameter or a context")
        return cls(
            body=body,
            body_name=names[RequestModel],
            body_is_required=body_is_required,
            query=query,
            query_name=names[BaseModel],
            paths=paths,
            context_name=names[Context],
            call_name=names[Call],
            stream_name=names[RequestBody],
            refuses_unknown_parameters=refuses_unknown_parameters(function),
        )


def _split_annotation(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    metadata: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *others = get_args(annotation)
        metadata = tuple(others)
    optional = [part for part in get_args(annotation) if part is not type(None)]
    return (optional[0] if len(optional) == 1 else annotation), metadata


class Endpoint(APIRoute):
    """A route that reads requests and sends answers itself. The docstring of this module explains why."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Take the same options as FastAPI's route.

        `refusals` is set to the statuses of the refusals that the endpoint may send, for the OpenAPI document.
        """
        self.plan = Plan.of(endpoint)
        refusals = {401, 403, 500, 503}
        reads_body = self.plan.body is not None or bool(self.plan.stream_name)
        refusals |= {400, 413, 415} if reads_body else set()
        refusals |= {422} if self.plan.body or self.plan.query or self.plan.paths else set()
        refusals |= {422} if self.plan.refuses_unknown_parameters else set()
        # Every other method may have a body, and the organization that is named in it is checked.
        refusals |= set() if "GET" in (options.get("methods") or ()) else {400, 413, 422}
        refusals |= {404} if self.plan.paths else set()
        self.refusals = refusals
        self.invalid_part: InvalidPart = "body" if reads_body else "query" if self.plan.query else "path"
        options["response_model"] = None  # because FastAPI neither checks nor encodes answers
        self.answer = answer_type(endpoint)
        if self.answer is not None:
            status = options.get("status_code") or 200
            responses = options.get("responses") or {}
            content: dict[str, Any] = {"schema": reference_to(self.answer)}
            if status in responses:  # the endpoint has a more specific example
                content |= responses[status]["content"]["application/json"]
            options["responses"] = {**responses, status: {"content": {"application/json": content}}}
        super().__init__(path, endpoint, **options)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request like Starlette's route.

        A path without parameters is compared without a regular expression, which is faster.
        """
        if not self.param_convertors and not scope.get("root_path"):
            if scope["path"] != self.path:
                return Match.NONE, {}
            match = Match.FULL if scope["method"] in (self.methods or ()) else Match.PARTIAL
            return match, {"endpoint": self.endpoint, "path_params": {}, "route": self}
        result = super().matches(scope)
        if scope["path"].endswith("\n") and self.path_regex.fullmatch(scope["path"]) is None:
            return Match.NONE, {}  # the `$` in Starlette's pattern also matches before a final line break
        return result

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that passed the authentication middleware."""
        call = call_of(scope)
        try:
            await self._send(await self._answer(call), call, scope, receive, send)
        finally:
            if call.context.answer_bytes:
                call.context.hold_answer(0)

    async def _send(self, answer: Any, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(answer, Continued):
            answer = answer.body if answer.more is None else _stream(answer.body, answer.more)
        if isinstance(answer, StreamingResponse) and call.is_head:
            answer = Response(headers=answer.headers)
            del answer.headers["content-length"]
        if isinstance(answer, Response):  # such as a stream, which is sent in parts
            await answer(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(answer, Reply):
            answer, more = answer
            headers = [(name.lower().encode("latin-1"), content.encode("latin-1")) for name, content in more.items()]
        body = b""
        if answer is not None:
            body = await asyncio.to_thread(body_of, answer) if _is_long(answer) else body_of(answer)
            headers.append((b"content-length", str(len(body)).encode()))
            headers.append((b"content-type", b"application/json"))
        del answer
        await send({"type": "http.response.start", "status": self.status_code or 200, "headers": headers})
        call.context.hold_answer(len(body))
        if call.context.answer_bytes:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            body = b""
            await wait_until_received(send)
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, call: Call) -> Any:
        plan, context = self.plan, call.context
        arguments: dict[str, Any] = {}
        if plan.context_name:
            arguments[plan.context_name] = context
        if plan.call_name:
            arguments[plan.call_name] = call
        for alias, name in plan.paths.items():
            arguments[name] = path_id(call.scope, alias, self.param_convertors[alias])
        if plan.stream_name:
            call.body.check(context.limits.batch_bytes)
            arguments[plan.stream_name] = call.body
        elif plan.body is not None:
            arguments[plan.body_name] = await self._read_body(plan.body, call)
        elif call.scope["method"] != "GET":
            await self._read_body(NoBody, call)
        if plan.refuses_unknown_parameters:
            names = call.dialect.organization_names
            check_names(call.query, plan.query, {names.query} if names else set())
        if plan.query is not None:
            arguments[plan.query_name] = read_query(plan.query, call.query, context.limits)
        return await self.endpoint(**arguments)

    async def _read_body(self, model: type[RequestModel], call: Call) -> RequestModel | None:
        context = call.context
        body = await call.body.read(context.limits.body_bytes)
        context.size = len(body)
        media_type = call.body.media_type
        is_accepted = call.dialect.accepts_media_type(media_type)
        if not self.plan.body_is_required and (not body or (model is NoBody and not is_accepted)):
            return None
        if not is_accepted:
            raise wrong_media_type(media_type)
        members = await parse_members(body, model.payloads, context.limits.nesting)
        call.check_organization_of_body(members)

        def validated() -> RequestModel:
            try:
                return model.model_validate(members, context=context.limits)
            except ValidationError as error:
                raise Invalid(field_errors(error)) from None

        return await context.compute(validated)


def _stream(answer: msgspec.Struct | None, pieces: AsyncGenerator[bytes]) -> Stream:
    if answer is None:
        pieces = require_pieces(pieces)
    else:
        (member,) = _list_members(type(answer))
        pieces = json_list(answer, member, pieces)
    return Stream(pieces, media_type="application/json")


def _is_long(answer: Any) -> bool:
    if isinstance(answer, list):
        return len(answer) > _MANY_ROWS
    if isinstance(answer, msgspec.Struct):
        return any(len(getattr(answer, name)) > _MANY_ROWS for name in _list_members(type(answer)))
    return False


@cache
def _list_members(answer: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the members of an answer that are lists.

    They are cached for each class, because looking up type hints is slow.
    """
    hints = get_type_hints(answer)
    return tuple(name for name in answer.__struct_fields__ if get_origin(hints[name]) is list)


class NoBody(RequestModel):
    """The body of a request that needs no body. Only the organization in it is checked; the rest is ignored."""


def field_errors(error: ValidationError, prefix: str = "") -> list[FieldError]:
    """Return the errors of a pydantic validation. `prefix` is put in front of each path."""
    return [
        FieldError(prefix + pointer(*details["loc"]), details["msg"])
        for details in error.errors(include_url=False, include_context=False, include_input=False)
    ]
