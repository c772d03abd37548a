"""`GET /healthz`: whether the server is running and reaches its database."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from log10_server import __version__
from log10_server.runtime.runtime import Runtime
from log10_server.web.http.problems import documented

router = APIRouter(tags=["Health"])


class Health(BaseModel):
    """The state of the server."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "ok", "database": "sqlite", "version": __version__}}
    )

    status: str = Field(description="`ok`, because a server that cannot answer requests answers 503.")
    database: str = Field(description="The kind of the database: `sqlite` or `postgresql`.")
    version: str = Field(description="The version of the server.")


@router.get(
    "/healthz",
    operation_id="health",
    response_model=Health,
    responses=documented("database_unavailable", "no_answer", "overloaded", "stopping"),
)
async def health(request: Request) -> JSONResponse:
    """Check whether the server is running and reaches its database. This needs no token."""
    runtime: Runtime = request.app.state.runtime

    await runtime.check_health()
    return JSONResponse({"status": "ok", "database": runtime.database.kind, "version": __version__})
