"""The OpenAPI document: FastAPI's, with what it can't know of endpoints and dialects."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from log10_server.web.http.answers import component_schemas
from log10_server.web.http.dialect import Dialect
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.problems import Problem


def openapi(app: FastAPI, dialects: Sequence[Dialect]) -> dict[str, Any]:
    """FastAPI's document, with what the dialects say of their credentials and refusals."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            servers=app.servers or None,
        )
        shape = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
        _without_fastapis_own_refusals(document)
        for dialect in dialects:
            _describe_dialect(document, dialect)
        _with_examples_of_parameters(document)
        schemas = document["components"]["schemas"]
        schemas |= shape.pop("$defs")
        schemas["Problem"] = shape
        documented = [route for route in app.routes if isinstance(route, Endpoint) and route.include_in_schema]
        schemas |= component_schemas(endpoint.answer for endpoint in documented if endpoint.answer is not None)
        app.openapi_schema = document
    return app.openapi_schema


def _without_fastapis_own_refusals(document: dict[str, Any]) -> None:
    """FastAPI adds a 422 of its own to operations with parameters; ours never sends that."""
    for path in document["paths"].values():
        for operation in path.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    for shape in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(shape, None)


def _with_examples_of_parameters(document: dict[str, Any]) -> None:
    """Swagger UI fills in the example of a parameter, and overlooks that of its schema, where FastAPI puts it."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if examples := parameter["schema"].pop("examples", None):
                    parameter["example"] = examples[0]


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
            responses = {**operation["responses"], **dialect.describe_refusals(endpoint.refusals)}
            operation["responses"] = dict(sorted(responses.items()))
