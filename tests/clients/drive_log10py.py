"""Calls every operation of the generated SDK `log10py` and prints what went over the wire and what it made of it.

Runs in the SDK's own environment, as `python drive_log10py.py URL TOKEN ORGANIZATION`; prints one JSON object.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import requests
from log10 import Log10  # type: ignore[import-not-found]
from log10.models import components, operations  # type: ignore[import-not-found]

url, token, organization = sys.argv[1:]
session = requests.Session()
session.trust_env = False
client = Log10(server_url=url, log10_token=token, x_log10_organization=organization, client=session)
calls: dict[str, Any] = {}
seen: list[requests.Response] = []
session.hooks["response"].append(lambda answer, *_args, **_options: seen.append(answer))


def call(name: str, operation: Callable[[], Any]) -> Any:
    """The wire and the SDK's answer, or the error with which it could not decode what came."""
    seen.clear()
    answer: Any = None
    failure = ""
    try:
        answer = operation()
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    (wire,) = seen
    body = wire.request.body
    calls[name] = {
        "method": wire.request.method,
        "path": wire.request.path_url,
        "headers": {key.lower(): content for key, content in wire.request.headers.items()},
        "sent": json.loads(body) if isinstance(body, (str, bytes)) else None,
        "status": wire.status_code,
        "answer": wire.json(),
        "failure": failure,
    }
    return answer


def decoded(name: str, model: Any) -> None:
    """What the SDK made of the answer, as plain values."""
    calls[name]["decoded"] = json.loads(model.to_json())


def completion(**fields: Any) -> Any:
    return components.Completion(organization_id=organization, **fields)


request = components.CreateChatCompletionRequest(
    model="gpt-4o", messages=[components.ChatCompletionRequestUserMessage(content="Say hello.", role="user")]
)
response = components.CreateChatCompletionResponse(
    id="chatcmpl-1",
    choices=[
        components.Choices(
            finish_reason="stop",
            index=0,
            logprobs=None,
            message=components.ChatCompletionResponseMessage(role="assistant", content="Hello!"),
        )
    ],
    created=1706688000,
    model="gpt-4o",
    object="chat.completion",
    usage=components.CompletionUsage(prompt_tokens=9, completion_tokens=3, total_tokens=12),
)
frame = components.Stacktrace(file="hello.py", line="greet()", lineno=3, name="main")

answer = call("createSession", lambda: client.sessions.create())
decoded("createSession", answer.object)
session_id = answer.object.session.id

answer = call("create plain", lambda: client.completions.create(completion(tags=["greeting"], session_id=session_id)))
decoded("create plain", answer.completion)
plain_id = answer.completion.id

call(
    "create",
    lambda: client.completions.create(
        completion(
            id="hello-1",
            kind=components.Kind.CHAT,
            status=components.Status.STARTED,
            tags=["greeting", "demo"],
            request=request,
            stacktrace=[frame],
            session_id=session_id,
        )
    ),
)
call(
    "update",
    lambda: client.completions.update(
        "hello-1", completion(status=components.Status.FINISHED, response=response, duration=0.8)
    ),
)
answer = call(
    "update failed",
    lambda: client.completions.update(
        plain_id, completion(status=components.Status.FAILED, failure_kind="timeout", failure_reason="Too slow.")
    ),
)
decoded("update failed", answer.completion)

call(
    "createFeedbackTask",
    lambda: client.feedback_tasks.create(
        components.Task(
            id="made-by-sdk",
            json_schema=components.JSONSchema(),
            name="Made by the SDK",
            instruction="Say anything.",
            completion_tags_selector=components.CompletionTagsSelector(),
        )
    ),
)
call(
    "createFeedbackTask with plain values",
    lambda: client.feedback_tasks.create(
        components.Task(
            id="greetings",
            json_schema={"type": "object", "properties": {"note": {"type": "string"}}},
            name="Greetings",
            instruction="Grade it.",
            completion_tags_selector=["greeting"],
        )
    ),
)
call("getFeedbackTask", lambda: client.feedback_tasks.get("greetings"))
call("listFeedbackTasks", lambda: client.feedback_tasks.list())
call("listUngraded", lambda: client.completions.list_ungraded())

answer = call(
    "upload by selector",
    lambda: client.feedback.upload(
        operations.One(
            organization_id=organization,
            task_id="made-by-sdk",
            json_values=operations.JSONValues(),
            matched_completion_ids=[],
            comment="By selector.",
            completion_tags_selector=["greeting"],
        )
    ),
)
decoded("upload by selector", answer.feedback)
answer = call(
    "upload by ids",
    lambda: client.feedback.upload(
        operations.Two(
            organization_id=organization,
            task_id="greetings",
            json_values=operations.RequestBodyJSONValues(),
            matched_completion_ids=["not-the-client's-to-say"],
            comment="By ids.",
            completion_ids=["hello-1"],
            id="given-1",
        )
    ),
)
decoded("upload by ids", answer.feedback)
answer = call("get", lambda: client.feedback.get("given-1"))
decoded("get", answer.feedback)
answer = call("list", lambda: client.feedback.list())
decoded("list", answer.object)
answer = call(
    "list narrowed",
    lambda: client.feedback.list(
        request_body=operations.ListRequestBody(offset=0, limit=10, completion_id="hello-1", task_id="greetings")
    ),
)
decoded("list narrowed", answer.object)
call("get unknown", lambda: client.feedback.get("no-such-feedback"))
call("create for another", lambda: client.completions.create(completion(tags=[]), x_log10_organization="another"))

print(json.dumps(calls))
