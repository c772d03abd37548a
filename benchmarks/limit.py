"""The limit: plain FastAPI and pydantic on uvicorn, written the ordinary way, that checks what comes and stores nothing.

What a server in this framework could reach at most if storing cost nothing. Its lists are built for each request from
rows in memory, which are those that our own server answers.
"""

import json
import logging
import sys
import uuid
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class CompletionIn(BaseModel):
    id: str | None = None
    organization_id: str | None = None
    kind: Literal["chat", "prompt"] | None = None
    status: Literal["started", "finished", "failed"] | None = None
    tags: list[str] | None = None
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    stacktrace: list[dict[str, Any]] | None = None
    session_id: str | None = None
    duration: float | None = None
    failure_kind: str | None = None
    failure_reason: str | None = None


class LogRowIn(BaseModel):
    """Payloads are JSON text in a string."""

    status: Literal["started", "finished", "failed"] | None = None
    kind: Literal["chat", "completion"] | None = None
    orig_module: str | None = None
    orig_qualname: str | None = None
    request: str | None = None
    response: str | None = None
    stacktrace: str | None = None
    duration: float | None = None
    session_id: str | None = None
    tags: list[str] | None = None
    failure_kind: str | None = None
    failure_reason: str | None = None


class FeedbackIn(BaseModel):
    task_id: str
    json_values: dict[str, Any]
    completion_tags_selector: list[str] | None = None
    completion_ids: list[str] | None = None
    comment: str | None = None
    allow_unmatched_feedback: bool | None = None
    max_matched_completions: int | None = None


class CompletionOut(BaseModel):
    id: str
    organization_id: str
    created_at_ms: int
    kind: str
    status: str
    tags: list[str]
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    stacktrace: list[dict[str, Any]] | None = None
    session_id: str | None = None
    duration: float | None = None
    failure_kind: str | None = None
    failure_reason: str | None = None


class FeedbackOut(BaseModel):
    id: str
    organization_id: str
    created_at_ms: int
    task_id: str
    json_values: dict[str, Any]
    matched_completion_ids: list[str]
    comment: str
    completions_summary: str
    state: str
    author: str | None = None
    author_id: str | None = None
    author_kind: str | None = None


class CompletionsOut(BaseModel):
    completions: list[CompletionOut]
    next_cursor: str | None = None


class FeedbacksOut(BaseModel):
    feedback: list[FeedbackOut]


def create_app(lists: dict[str, Any]) -> FastAPI:
    """`lists` holds for each path what it answers."""
    app = FastAPI()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/api/v1/completions", status_code=201, response_model=None)
    async def create(body: CompletionIn) -> dict[str, str]:
        return {"id": body.id or str(uuid.uuid4())}

    @app.post("/api/completions/{completion_id}", response_model=None)
    async def log(completion_id: str, body: LogRowIn) -> dict[str, str]:  # noqa: ARG001 - to be validated
        return {"id": completion_id}

    @app.post("/api/v1/feedback", response_model=None)
    async def upload(body: FeedbackIn) -> dict[str, str]:  # noqa: ARG001 - to be validated
        return {"id": str(uuid.uuid4())}

    @app.get("/api/v1/completions", response_model=CompletionsOut, response_model_exclude_none=True)
    async def list_completions(limit: int = 50) -> CompletionsOut:
        page = lists["/api/v1/completions"]
        rows = [CompletionOut(**row) for row in page["completions"][:limit]]
        return CompletionsOut(completions=rows, next_cursor=page.get("next_cursor"))

    @app.get("/api/v1/completions/ungraded", response_model=CompletionsOut, response_model_exclude_none=True)
    async def list_ungraded(limit: int = 50) -> CompletionsOut:
        rows = lists["/api/v1/completions/ungraded"]["completions"]
        return CompletionsOut(completions=[CompletionOut(**row) for row in rows[:limit]])

    @app.get("/api/v1/feedback", response_model=FeedbacksOut, response_model_exclude_none=True)
    async def list_feedback(limit: int = 50) -> FeedbacksOut:
        return FeedbacksOut(feedback=[FeedbackOut(**row) for row in lists["/api/v1/feedback"]["feedback"][:limit]])

    return app


def main() -> None:
    """Serve with the options that our own server gives to uvicorn."""
    port, lists = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    logging.basicConfig(level=logging.WARNING)
    uvicorn.run(
        create_app(lists),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=65,
        lifespan="on",
    )


if __name__ == "__main__":
    main()
