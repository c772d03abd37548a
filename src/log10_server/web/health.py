"""`GET /healthz`: whether the server is alive and reaches its database. It needs no token."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from log10_server import __version__
from log10_server.runtime.runtime import Runtime
from log10_server.web.http.problems import documented

router = APIRouter(tags=["Health"])


class Health(BaseModel):
    status: str = Field(description="`ok` when calls can be answered.")
    database: str = Field(description="Which database it reaches.")
    version: str = Field(description="The server's version.")


@router.get("/healthz", operation_id="health", response_model=Health, responses=documented(503))
async def health(request: Request) -> JSONResponse:
    """Tell whether the server is alive and reaches its database."""
    runtime: Runtime = request.app.state.runtime

    await runtime.read_short(runtime.database.ping)
    return JSONResponse({"status": "ok", "database": runtime.database.kind, "version": __version__})
