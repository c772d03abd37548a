"""Swagger UI and ReDoc, served by the program itself: they work with no internet."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

# That package carries the two programs as files, and nothing else of it is used.
_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_NAMES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png"})

# Nothing may come from, or go to, another host.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:"
    ),
    "X-Content-Type-Options": "nosniff",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>log10-server API</title>
<link rel="icon" href="docs/favicon.png">
{head}
</head>
<body>
{body}
</body>
</html>
"""
_SWAGGER = _PAGE.format(
    head='<link rel="stylesheet" href="docs/swagger-ui.css">',
    body='<div id="docs"></div>\n<script src="docs/swagger-ui-bundle.js"></script>\n<script src="docs/start.js"></script>',
)
_REDOC = _PAGE.format(
    head="<style>body { margin: 0; }</style>",
    body='<redoc spec-url="openapi.json"></redoc>\n<script src="docs/redoc.standalone.js"></script>',
)
# A browser sends no body with GET; what could stand in it can stand in the query.
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  persistAuthorization: true,
  displayRequestDuration: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    if (request.method === "GET") delete request.body;
    return request;
  },
});
"""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def front() -> RedirectResponse:
    return RedirectResponse("docs")


@router.get("/docs")
async def swagger_ui() -> HTMLResponse:
    return HTMLResponse(_SWAGGER, headers=_HEADERS)


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    return HTMLResponse(_REDOC, headers=_HEADERS)


@router.get("/docs/start.js")
async def start() -> Response:
    return Response(_START, media_type="text/javascript", headers=_HEADERS)


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    if name not in _NAMES:
        raise HTTPException(404)
    return FileResponse(_ASSETS / name, headers=_HEADERS)
