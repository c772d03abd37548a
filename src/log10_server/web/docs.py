"""Serves Swagger UI and ReDoc from files of this program, so that they work without internet access."""

from functools import lru_cache
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

# This package contains the files of Swagger UI and ReDoc. Nothing else in it is used.
_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_NAMES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"})
_REDOC_NAME = "redoc.standalone.js"

# ReDoc always shows its maker's logo under the menu, loads it from this address, and has no option to turn this off.
_REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_EMPTY_IMAGE = b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"

# With this policy the pages can neither load anything from other hosts nor send anything to them.
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
# Browsers refuse to send a body with GET. Every field of such a body is a query parameter as well.
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
    """Send the visitor to the Swagger UI."""
    return RedirectResponse("docs")


@router.get("/docs")
async def swagger_ui() -> HTMLResponse:
    """The page of the Swagger UI."""
    return HTMLResponse(_SWAGGER, headers=_HEADERS)


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """The page of ReDoc."""
    return HTMLResponse(_REDOC, headers=_HEADERS)


@router.get("/favicon.ico")
async def favicon() -> FileResponse:
    """The icon, where browsers look for it when a page names none, such as a JSON answer."""
    return FileResponse(_ASSETS / "favicon.png", headers=_HEADERS)


@router.get("/docs/start.js")
async def start() -> Response:
    """The script that starts the Swagger UI. It is a file because the content security policy forbids inline scripts."""
    return Response(_START, media_type="text/javascript", headers=_HEADERS)


@router.get(f"/docs/{_REDOC_NAME}")
async def redoc_script() -> Response:
    """ReDoc without the logo that it would load from another host."""
    return Response(_redoc_without_logo(), media_type="text/javascript", headers=_HEADERS)


@lru_cache(maxsize=1)
def _redoc_without_logo() -> bytes:
    return (_ASSETS / _REDOC_NAME).read_bytes().replace(_REDOC_LOGO, _EMPTY_IMAGE)


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    """A file of the Swagger UI."""
    if name not in _NAMES:
        raise HTTPException(404)
    return FileResponse(_ASSETS / name, headers=_HEADERS)
