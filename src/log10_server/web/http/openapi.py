"""Builds the OpenAPI document: FastAPI's document, completed with what only the endpoints and dialects know."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from log10_server.web.http.answers import component_schemas
from log10_server.web.http.dialect import Dialect
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.problems import Problem


def openapi(app: FastAPI, dialects: Sequence[Dialect]) -> dict[str, Any]:
    """Return FastAPI's document, completed with the credentials and refusals of the dialects. It is built only once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            servers=app.servers or None,
        )
        problem_schema = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
        _remove_refusals_of_fastapi(document)
        for dialect in dialects:
            _describe_dialect(document, dialect)
        _move_examples_of_parameters(document)
        _split_descriptions(document)
        schemas = document["components"]["schemas"]
        schemas |= problem_schema.pop("$defs")
        schemas["Problem"] = problem_schema
        documented = [route for route in app.routes if isinstance(route, Endpoint) and route.include_in_schema]
        schemas |= component_schemas(endpoint.answer for endpoint in documented if endpoint.answer is not None)
        app.openapi_schema = document
    return app.openapi_schema


def _remove_refusals_of_fastapi(document: dict[str, Any]) -> None:
    """Remove the response 422 that FastAPI documents for operations with parameters: this server never sends it."""
    for path in document["paths"].values():
        for operation in path.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    for schema in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(schema, None)


def _move_examples_of_parameters(document: dict[str, Any]) -> None:
    """Move examples from the schemas of parameters, where FastAPI puts them, to the parameters.

    Swagger UI fills in the example of a parameter, but not that of its schema.
    """
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if examples := parameter["schema"].pop("examples", None):
                    parameter["example"] = examples[0]


# A sentence ends with a full stop before white space. The full stop in `log10.py` does not end one.
_FIRST_SENTENCE = re.compile(r"(?P<first>.+?\.)(?:\s+(?P<rest>.+))?", re.DOTALL)


def _split_descriptions(document: dict[str, Any]) -> None:
    """Make the first sentence of each docstring the summary, and keep the others as the description."""
    for path in document["paths"].values():
        for operation in path.values():
            sentences = _FIRST_SENTENCE.fullmatch(operation.pop("description"))
            assert sentences is not None, operation["operationId"]
            operation["summary"] = " ".join(sentences["first"].split())
            if sentences["rest"]:
                operation["description"] = sentences["rest"]


def _describe_dialect(document: dict[str, Any], dialect: Dialect) -> None:
    """Add the security, the parameters and the refusals that the dialect's endpoints share."""
    endpoints = [route for router in dialect.routers for route in router.routes if isinstance(route, Endpoint)]
    for endpoint in endpoints:
        if not endpoint.include_in_schema:
            continue
        document["components"].setdefault("securitySchemes", {}).update(dialect.security_schemes)
        for method in endpoint.methods or ():
            operation = document["paths"][endpoint.path_format][method.lower()]
            operation["security"] = [{name: []} for name in dialect.security_schemes]
            operation["parameters"] = [*operation.get("parameters", []), *dialect.parameters]
            refusals = dialect.describe_refusals(endpoint.refusals, endpoint.invalid_part)
            operation["responses"] = dict(sorted(_merged(refusals, operation["responses"]).items()))


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two objects recursively. Objects that are in both are merged too.

    The members of the first object come first.
    """
    merged = {**first, **second}
    for name in first.keys() & second.keys():
        if isinstance(first[name], Mapping) and isinstance(second[name], Mapping):
            merged[name] = _merged(first[name], second[name])
    return merged
