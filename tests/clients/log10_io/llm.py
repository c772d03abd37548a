"""A small LLM server that speaks OpenAI's and Anthropic's wire formats, streaming included; it echoes each prompt."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def _reply(request: dict[str, Any]) -> str:
    content = request["messages"][-1]["content"] if "messages" in request else request["prompt"]
    return f"You said: {content if isinstance(content, str) else content[0]['text']}"


def _chat(request: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": _reply(request)}
    if request.get("tools"):
        message = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}  # type: ignore[dict-item]
    finish = "tool_calls" if request.get("tools") else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1706688000,
        "model": request["model"] + "-2026",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": USAGE,
    }


def _text(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1706688000,
        "model": request["model"],
        "choices": [{"index": 0, "text": _reply(request), "finish_reason": "stop", "logprobs": None}],
        "usage": USAGE,
    }


def _message(request: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": _reply(request)}]
    if request.get("tools"):
        content = [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": "tool_use" if request.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 13, "output_tokens": 5},
    }


def _chat_events(request: dict[str, Any]) -> Iterator[str]:
    words = _reply(request).split(" ")
    deltas: list[tuple[dict[str, Any], str | None]] = [
        ({"content": word if not place else f" {word}"}, None) for place, word in enumerate(words)
    ]
    for delta, finish in [({"role": "assistant", "content": ""}, None), *deltas, ({}, "stop")]:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1706688000,
            "model": request["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def _message_events(request: dict[str, Any]) -> Iterator[str]:
    start = {**_message(request), "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}}
            for part in (_reply(request)[:5], _reply(request)[5:])
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "fail" in json.dumps(request.get("messages", request.get("prompt"))):
            self._answer(400, {"error": {"message": "The LLM fails as asked.", "type": "invalid_request_error"}})
        elif self.path.endswith("/chat/completions"):
            self._events(_chat_events(request)) if request.get("stream") else self._answer(200, _chat(request))
        elif self.path.endswith("/completions"):
            self._answer(200, _text(request))
        elif self.path.endswith("/messages"):
            self._events(_message_events(request)) if request.get("stream") else self._answer(200, _message(request))
        else:
            self._answer(404, {"error": {"message": self.path}})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _events(self, events: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            content = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Log no error when a client closes its connection after it has its answer."""


@contextmanager
def served() -> Iterator[int]:
    """The port on which the LLM answers."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
