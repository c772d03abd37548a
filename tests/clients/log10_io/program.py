"""Somebody's program that logs with `log10-io`, run in that package's own environment; it prints what it saw as JSON.

Not a line of it knows that the server is not log10.io; the names of the LLMs' hosts are made to lead to this machine.
"""

import asyncio
import json
import os
import socket
import sys
from typing import Any

PORT = os.environ["LLM_PORT"]
_resolve = socket.getaddrinfo


def _to_this_machine(host: Any, *arguments: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else str(host)
    return _resolve("127.0.0.1" if name.endswith(".test") else host, *arguments, **options)


socket.getaddrinfo = _to_this_machine

import openai  # noqa: E402
from log10._httpx_utils import finalize  # type: ignore[import-not-found] # noqa: E402
from log10.load import (  # type: ignore[import-not-found] # noqa: E402
    Anthropic,
    AsyncAnthropic,
    OpenAI,
    last_completion_response_var,
    log10_session,
    log10_tags,
    session_id_var,
    with_log10_tags,
)

OPENAI = {"api_key": "sk-test", "base_url": f"http://api.openai.test:{PORT}/v1", "max_retries": 0}
ANTHROPIC = {"api_key": "sk-test", "base_url": f"http://api.anthropic.test:{PORT}", "max_retries": 0}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
ANTHROPIC_TOOLS = [{"name": "weather", "input_schema": {"type": "object"}}]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def openai_plain() -> None:
    OpenAI(**OPENAI).chat.completions.create(model="gpt-4o", messages=user("plain"))


def openai_streaming() -> None:
    for _ in OpenAI(**OPENAI).chat.completions.create(model="gpt-4o", messages=user("streaming"), stream=True):
        pass


def openai_tools() -> None:
    OpenAI(**OPENAI).chat.completions.create(model="gpt-4o", messages=user("tools"), tools=TOOLS)


def openai_vision() -> None:
    parts = [{"type": "text", "text": "vision"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    OpenAI(**OPENAI).chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])


def openai_text() -> None:
    OpenAI(**OPENAI).completions.create(model="gpt-3.5-turbo-instruct", prompt="text")


def openai_failing() -> None:
    try:
        OpenAI(**OPENAI).chat.completions.create(model="gpt-4o", messages=user("fail"))
    except openai.BadRequestError:
        return
    raise AssertionError("the LLM did not fail")


def anthropic_plain() -> None:
    Anthropic(**ANTHROPIC).messages.create(model="claude-3-haiku", max_tokens=50, messages=user("plain"))


def anthropic_streaming() -> None:
    with Anthropic(**ANTHROPIC).messages.stream(
        model="claude-3-haiku", max_tokens=50, messages=user("streaming")
    ) as stream:
        for _ in stream.text_stream:
            pass


def anthropic_tools() -> None:
    Anthropic(**ANTHROPIC).messages.create(
        model="claude-3-haiku", max_tokens=50, messages=user("tools"), tools=ANTHROPIC_TOOLS
    )


async def _async_openai(text: str, **options: Any) -> None:
    answer = await openai.AsyncOpenAI(**OPENAI).chat.completions.create(model="gpt-4o", messages=user(text), **options)
    if options.get("stream"):
        async for _ in answer:
            pass
    await finalize()


async def _async_openai_failing() -> None:
    try:
        await _async_openai("fail")
    except Exception:  # the client's own transport turns a refusal of the LLM into an odd error
        await asyncio.sleep(0.3)
        return
    raise AssertionError("the LLM did not fail")


async def _async_anthropic(text: str, **options: Any) -> None:
    answer = await AsyncAnthropic(**ANTHROPIC).messages.create(
        model="claude-3-haiku", max_tokens=50, messages=user(text), **options
    )
    if options.get("stream"):
        async for _ in answer:
            pass
    await finalize()


@with_log10_tags(["decorated"])
def decorated() -> None:
    openai_plain()


seen: dict[str, Any] = {}
SYNC = {
    "openai plain": openai_plain,
    "openai streaming": openai_streaming,
    "openai tools": openai_tools,
    "openai vision": openai_vision,
    "openai text": openai_text,
    "openai failing": openai_failing,
    "openai decorated": decorated,
    "anthropic plain": anthropic_plain,
    "anthropic streaming": anthropic_streaming,
    "anthropic tools": anthropic_tools,
}
ASYNC = {
    "async openai plain": lambda: _async_openai("plain"),
    "async openai streaming": lambda: _async_openai("streaming", stream=True),
    "async openai tools": lambda: _async_openai("tools", tools=TOOLS),
    "async openai failing": _async_openai_failing,
    "async anthropic plain": lambda: _async_anthropic("plain"),
    "async anthropic streaming": lambda: _async_anthropic("streaming", stream=True),
    "async anthropic tools": lambda: _async_anthropic("tools", tools=ANTHROPIC_TOOLS),
}


def _note(name: str, session: Any) -> None:
    seen[name] = {
        "session_id": session_id_var.get(),
        "last_completion": last_completion_response_var.get(),
        "url": session.last_completion_url(),
    }


def run_sync() -> None:
    for name, run in SYNC.items():
        with log10_session(tags=[name]) as session, log10_tags([f"{name} inside"]):
            run()
            _note(name, session)


async def run_async() -> None:
    for name, run in ASYNC.items():
        with log10_session(tags=[name]) as session, log10_tags([f"{name} inside"]):
            await run()
            _note(name, session)


run_sync()
asyncio.run(run_async())
json.dump(seen, sys.stdout)
