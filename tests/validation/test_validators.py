"""Validation in the server itself, or in a process that is killed at its deadline (docs/api.md, "Task schemas")."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from log10_server.errors import FieldError, InternalError, Invalid, Unavailable
from log10_server.validation import process, queue
from log10_server.validation.validators import Validators

Scenario = Callable[[Validators], Coroutine[Any, Any, Any]]
Run = Callable[..., Any]

PLAIN = json.dumps(
    {"type": "object", "properties": {"grade": {"type": "integer", "maximum": 5}}, "required": ["grade"]}
)
PATTERN = json.dumps({"properties": {"word": {"type": "string", "pattern": "^[a-z]+$"}}})
CATASTROPHIC = json.dumps({"properties": {"word": {"pattern": "^(a+)+$"}}})
ENDLESS = json.dumps({"word": "a" * 40 + "!"})
ON_BOTH_LOOPS = pytest.mark.parametrize(
    "run", ["asyncio", "uvloop"], indirect=True
)  # the loops start and watch processes differently
SOON_SECONDS = 5.0  # takes milliseconds on an idle machine; the documented limit is 1 s


@pytest.fixture
def run(request: pytest.FixtureRequest, other_processes: None) -> Run:
    """Run a scenario with validators, close them, and assert that no process is left."""
    runner: Run = uvloop.run if getattr(request, "param", "uvloop") == "uvloop" else asyncio.run

    def run(scenario: Scenario, processes: int = 2, budget_seconds: float = 1.0) -> Any:
        async def scenario_and_close() -> Any:
            validators = Validators(processes, budget_seconds)
            try:
                return await scenario(validators)
            finally:
                await validators.close()

        outcome = runner(scenario_and_close())
        assert workers() == []
        return outcome

    return run


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def other_processes() -> None:
    """Note the processes that other tests have started and not ended, such as a server that several tests share."""
    _other_processes[:] = children()


_other_processes: list[psutil.Process] = []


def workers() -> list[psutil.Process]:
    return [child for child in children() if child not in _other_processes]


async def refusal(call: Awaitable[None]) -> Invalid:
    """The Invalid that a call must raise."""
    with pytest.raises(Invalid) as refused:
        await call
    return refused.value


async def seconds_of(call: Awaitable[Any]) -> float:
    """The seconds that a call takes, even if it raises."""
    started = time.perf_counter()
    await asyncio.gather(call, return_exceptions=True)
    return time.perf_counter() - started


def pattern(number: int) -> str:
    return json.dumps({"title": str(number), "properties": {"word": {"pattern": "^[a-z]+$"}}})


def catastrophic(number: int) -> str:
    return json.dumps({"title": str(number), "properties": {"word": {"pattern": "^(a+)+$"}}})


# Answers


def test_a_schema_is_refused_with_all_its_errors(run: Run) -> None:
    async def scenario(validators: Validators) -> Invalid:
        await validators.check(PATTERN)
        return await refusal(validators.check('{"$ref": "http://x", "properties": {"x": {"type": 5}}}'))

    refused = run(scenario)

    assert refused.code == "invalid_schema"
    assert [error.path for error in refused.field_errors] == ["/json_schema/$ref", "/json_schema/properties/x/type"]


VALIDATED_VALUES: list[tuple[str, Any, Any, str]] = [
    (PLAIN, {"grade": 5}, {"grade": 6}, "/json_values/grade"),
    (PATTERN, {"word": "abc"}, {"word": "ABC"}, "/json_values/word"),
    (PATTERN, {"word": "a", "\ud83d": "\ud83d"}, {"word": "\ud83d"}, "/json_values/word"),
    (PATTERN, {"\udfff": "\u00e9\U0001f600"}, {"word": "\udfff\u00e9"}, "/json_values/word"),
    (
        json.dumps({"additionalProperties": {"uniqueItems": True}}),
        {"a": [1]},
        {"\ud800/~": [1, 1]},
        "/json_values/\ud800~1~0",
    ),
    (PLAIN, {"grade": 1, "much": [1] * 10**5}, {"grade": 6, "much": [1] * 10**5}, "/json_values/grade"),
]


@ON_BOTH_LOOPS
def test_values_are_validated_in_place_or_in_a_process(run: Run) -> None:
    async def scenario(validators: Validators) -> None:
        for schema, good, bad, path in VALIDATED_VALUES:
            await validators.validate(schema, json.dumps(good))
            refused = await refusal(validators.validate(schema, json.dumps(bad)))

            assert refused.code == "values_refused"
            assert [error.path for error in refused.field_errors] == [path]

    run(scenario)


def test_a_plain_schema_with_small_values_needs_no_process(run: Run) -> None:
    async def scenario(validators: Validators) -> tuple[int, int]:
        await validators.validate(PLAIN, '{"grade": 1}')
        await refusal(validators.validate(PLAIN, "[]"))
        before = len(workers())
        await validators.validate(PATTERN, "{}")
        return before, len(workers())

    assert run(scenario) == (0, 1)


def test_a_process_is_reused(run: Run) -> None:
    async def scenario(validators: Validators) -> bool:
        await validators.validate(PATTERN, '{"word": "a"}')
        first = {worker.pid for worker in workers()}
        for number in range(50):
            await validators.validate(PATTERN, json.dumps({"word": "a", "number": number}))
        return {worker.pid for worker in workers()} == first

    assert run(scenario)


@ON_BOTH_LOOPS
def test_many_concurrent_calls_each_get_their_own_answer(run: Run) -> None:
    async def scenario(validators: Validators) -> list[Any]:
        return await asyncio.gather(
            *(
                validators.validate(
                    pattern(number % 7), json.dumps({"word": "a" if number % 3 else "A", "number": number})
                )
                for number in range(300)
            ),
            return_exceptions=True,
        )

    answers = run(scenario)

    assert [isinstance(answer, Invalid) for answer in answers] == [number % 3 == 0 for number in range(300)]
    assert all(answer is None for number, answer in enumerate(answers) if number % 3)


@ON_BOTH_LOOPS
def test_schemas_and_values_of_megabytes_are_validated(run: Run) -> None:
    large = json.dumps({"word": "a" * 20_000_000})
    wide = json.dumps({"description": "x" * 2_000_000, "properties": {"word": {"pattern": "^a*$"}}})

    async def scenario(validators: Validators) -> None:
        await validators.check(wide)
        await validators.validate(wide, large)
        await validators.validate(PLAIN, large[:-1] + ', "grade": 1}')

    run(scenario, budget_seconds=20)


def test_values_of_the_deepest_nesting_are_validated_by_a_recursive_schema(run: Run) -> None:
    node = {
        "anyOf": [
            {"type": "null"},
            {"allOf": [{"oneOf": [{"properties": {"next": {"$ref": "#/$defs/node"}}, "not": {"type": "string"}}]}]},
        ]
    }
    schema = json.dumps({"$defs": {"node": node}, "$ref": "#/$defs/node"})
    good, bad = ('{"next":' * 199 + last + "}" * 199 for last in ("[]", '"x"'))

    async def scenario(validators: Validators) -> Invalid:
        await validators.check(schema)
        await validators.validate(schema, good)
        return await refusal(validators.validate(schema, bad))

    refused = run(scenario, budget_seconds=20)

    assert refused.field_errors == [FieldError("/json_values" + "/next" * 199, "Must not fit the schema in `not`.")]


def test_a_schema_of_the_deepest_nesting_is_checked(run: Run) -> None:
    def nested(around: str) -> str:
        schema: Any = {"pattern": "a"}
        for _ in range(95):
            schema = {
                around: {"x": schema} if around == "properties" else [schema] if around.endswith("Of") else schema
            }
        return json.dumps(schema)

    async def scenario(validators: Validators) -> None:
        for around in ("properties", "items", "anyOf", "allOf"):
            await validators.check(nested(around))
            await validators.validate(nested(around), "{}")

    run(scenario, budget_seconds=20)


def test_a_schema_that_refers_to_itself_without_end_refuses_its_values(run: Run) -> None:
    schema = json.dumps({"$dynamicAnchor": "a", "not": {"$dynamicRef": "#a"}})

    async def scenario(validators: Validators) -> Invalid:
        await validators.check(schema)
        return await refusal(validators.validate(schema, "{}"))

    refused = run(scenario, budget_seconds=20)

    assert refused.code == "values_refused"
    assert "without end" in refused.field_errors[0].message


# The budget


DOUBLING = {f"a{number}": {"anyOf": [{"$ref": f"#/$defs/a{number + 1}"}] * 2} for number in range(40)}
NESTED_UNEVALUATED: dict[str, Any] = {}
for _ in range(40):
    NESTED_UNEVALUATED = {"anyOf": [NESTED_UNEVALUATED], "unevaluatedProperties": {}}


@ON_BOTH_LOOPS
def test_a_validation_that_overruns_its_budget_is_refused(run: Run) -> None:
    costly = [
        (CATASTROPHIC, ENDLESS),
        (json.dumps({"patternProperties": {"^(a+)+$": {}}}), json.dumps({"a" * 40 + "!": 1})),
        (json.dumps({"$defs": {**DOUBLING, "a40": False}, "$ref": "#/$defs/a0"}), "{}"),
        (json.dumps(NESTED_UNEVALUATED), '{"a": 1}'),
    ]

    async def scenario(validators: Validators) -> list[tuple[Invalid, float]]:
        outcomes = []
        for schema, values in costly:
            await validators.check(schema)
            started = time.perf_counter()
            refused = await refusal(validators.validate(schema, values))
            outcomes.append((refused, time.perf_counter() - started))
        return outcomes

    for refused, seconds in run(scenario):
        assert refused.code == "validation_timeout"
        assert refused.field_errors == [FieldError("/json_values", "Validation takes longer than the limit of 1 s.")]
        assert 0.9 < seconds < SOON_SECONDS


def test_a_check_that_overruns_its_budget_is_refused(run: Run) -> None:
    schema = json.dumps({"properties": {f"p{number}": {"type": "string"} for number in range(20_000)}})

    refused = run(lambda validators: refusal(validators.check(schema)), budget_seconds=0.05)

    assert refused.code == "validation_timeout"
    assert refused.field_errors[0].path == "/json_schema"


def test_other_calls_are_answered_while_one_is_slow(run: Run) -> None:
    async def scenario(validators: Validators) -> None:
        await validators.validate(PATTERN, '{"word": "a"}')
        slow = asyncio.create_task(refusal(validators.validate(CATASTROPHIC, ENDLESS)))
        await asyncio.sleep(0.2)
        await validators.validate(PLAIN, '{"grade": 1}')
        await validators.validate(PATTERN, '{"word": "b"}')
        await validators.validate(pattern(1), '{"word": "b"}')  # a schema that is new to the server
        await validators.check(PATTERN)
        assert not slow.done()
        slow.cancel()

    run(scenario, budget_seconds=4 * SOON_SECONDS)


def test_many_uploads_to_one_slow_schema_leave_a_process_for_other_schemas(run: Run) -> None:
    async def scenario(validators: Validators) -> list[float]:
        slow = [
            asyncio.create_task(
                seconds_of(validators.validate(CATASTROPHIC, json.dumps({"word": "a" * 40 + "!" * number})))
            )
            for number in range(1, 11)
        ]
        await asyncio.sleep(0.1)
        seconds = []
        for number in range(10):
            seconds.append(await seconds_of(validators.validate(pattern(number), '{"word": "b"}')))
            await asyncio.sleep(0.1)
        for task in slow:
            task.cancel()
        return seconds

    assert max(run(scenario, budget_seconds=2 * SOON_SECONDS)) < SOON_SECONDS


def test_a_schema_known_to_be_fast_has_a_process_even_if_all_other_schemas_are_slow(run: Run) -> None:
    async def scenario(validators: Validators) -> None:
        await validators.validate(PATTERN, '{"word": "a"}')
        slow = [
            asyncio.create_task(seconds_of(validators.validate(catastrophic(number), ENDLESS))) for number in range(6)
        ]
        await asyncio.sleep(0.1)
        await validators.validate(PATTERN, '{"word": "b"}')
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()

    run(scenario, budget_seconds=4 * SOON_SECONDS)


def test_new_slow_schemas_of_one_organization_leave_a_process_for_another(run: Run) -> None:
    """Turns went by schema. With 30 new slow schemas of one organization, the first upload of another was a 503."""

    async def scenario(validators: Validators) -> None:
        slow = [
            asyncio.create_task(seconds_of(validators.validate(catastrophic(number), ENDLESS, "one")))
            for number in range(30)
        ]
        await asyncio.sleep(0.1)
        for number in range(3):
            await validators.validate(pattern(number), '{"word": "b"}', "another")
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()

    run(scenario, budget_seconds=4 * SOON_SECONDS)


def test_a_slow_schema_of_one_organization_is_not_slow_for_another(run: Run) -> None:
    async def scenario(validators: Validators) -> None:
        await refusal(validators.validate(CATASTROPHIC, ENDLESS, "one"))
        waiting = [
            asyncio.create_task(
                seconds_of(validators.validate(CATASTROPHIC, json.dumps({"word": "a" * 40 + "!" * number}), "one"))
            )
            for number in range(2, 6)
        ]
        await asyncio.sleep(0.1)
        await validators.validate(CATASTROPHIC, '{"word": "aaa"}', "another")
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()

    run(scenario, budget_seconds=2.0)


def test_a_schema_that_overran_its_budget_waits_in_the_slow_lane(run: Run) -> None:
    async def scenario(validators: Validators) -> None:
        await refusal(validators.validate(CATASTROPHIC, ENDLESS))
        slow = [
            asyncio.create_task(
                seconds_of(validators.validate(CATASTROPHIC, json.dumps({"word": "a" * 40 + "!" * number})))
            )
            for number in range(2, 5)
        ]
        await asyncio.sleep(0.3)
        await validators.validate(PATTERN, '{"word": "b"}')
        assert not any(task.done() for task in slow)
        for task in slow:
            task.cancel()

    run(scenario, processes=1, budget_seconds=2.0)


def test_a_slow_schema_still_validates_simple_values(run: Run) -> None:
    async def scenario(validators: Validators) -> Invalid:
        await refusal(validators.validate(CATASTROPHIC, ENDLESS))
        await validators.validate(CATASTROPHIC, '{"word": "aaa"}')
        return await refusal(validators.validate(CATASTROPHIC, '{"word": "b"}'))

    assert run(scenario).code == "values_refused"


def test_equal_concurrent_calls_share_one_job(run: Run) -> None:
    async def scenario(validators: Validators) -> tuple[list[Invalid], float]:
        started = time.perf_counter()
        refused = await asyncio.gather(*(refusal(validators.validate(CATASTROPHIC, ENDLESS)) for _ in range(20)))
        return refused, time.perf_counter() - started

    refused, seconds = run(scenario)

    assert {error.code for error in refused} == {"validation_timeout"}
    assert seconds < SOON_SECONDS


def test_a_job_that_waits_too_long_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(validators: Validators) -> Unavailable:
        await validators.check("{}")  # so that the process has started
        monkeypatch.setattr(queue, "_WAIT_SECONDS", 0.3)
        slow = asyncio.create_task(seconds_of(validators.validate(CATASTROPHIC, ENDLESS)))
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable) as refused:
            await validators.validate(pattern(1), '{"word": "b"}')
        assert not slow.done()
        await slow
        monkeypatch.undo()
        await validators.validate(pattern(1), '{"word": "b"}')
        return refused.value

    assert run(scenario, processes=1, budget_seconds=3.0).code == "overloaded"


def test_a_job_is_refused_at_once_when_too_many_bytes_wait(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_MAX_WAITING_BYTES", 10_000)

    async def scenario(validators: Validators) -> list[Any]:
        return await asyncio.gather(
            *(validators.validate(PATTERN, json.dumps({"n": number, "x": "x" * 3000})) for number in range(20)),
            return_exceptions=True,
        )

    answers = run(scenario)

    codes = [answer.code for answer in answers if isinstance(answer, Unavailable)]
    assert codes == ["overloaded"] * len(codes)
    assert 10 <= len(codes) < 20
    assert answers.count(None) == 20 - len(codes)


def test_a_validation_that_needs_too_much_memory_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values are a text of 7 MB, and take some 250 MB as Python objects."""
    monkeypatch.setattr(process, "_MEMORY_BYTES", 200 << 20)
    text = '{"a": [' + "[[[[[[[[]]]]]]]]," * 400_000 + "0]}"

    async def scenario(validators: Validators) -> tuple[Invalid, int]:
        refused = await refusal(validators.validate(PATTERN, text))
        await validators.validate(PATTERN, '{"word": "a"}')
        return refused, max(worker.memory_info().rss for worker in workers())

    refused, used = run(scenario, budget_seconds=60)

    assert refused.code == "values_refused"
    assert refused.field_errors == [FieldError("/json_values", "Validation takes more memory than the limit.")]
    assert used < 100 << 20  # a new process


# Processes


@ON_BOTH_LOOPS
def test_a_process_killed_between_jobs_is_replaced(run: Run) -> None:
    async def scenario(validators: Validators) -> None:
        for number in range(3):
            await validators.validate(PATTERN, json.dumps({"word": "a", "number": number}))
            for worker in workers():
                worker.kill()
            if number:
                await asyncio.sleep(0.2)
        await asyncio.gather(*(validators.validate(pattern(number), '{"word": "a"}') for number in range(10)))

    run(scenario)


@ON_BOTH_LOOPS
def test_the_job_of_a_killed_process_is_done_by_another_one(run: Run) -> None:
    slow = json.dumps({"properties": {"word": {"pattern": "^(a|a)*$"}}})  # doubles with each letter

    async def scenario(validators: Validators) -> tuple[Invalid, int]:
        await validators.check("{}")
        call = asyncio.create_task(refusal(validators.validate(slow, json.dumps({"word": "a" * 40 + "!"}))))
        await asyncio.sleep(0.3)
        killed = [worker.pid for worker in workers()]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(1.0)
        alive = [worker.pid for worker in workers() if worker.pid not in killed]
        assert not call.done()
        return await call, len(alive)

    refused, alive = run(scenario, budget_seconds=3.0)

    assert refused.code == "validation_timeout"
    assert alive >= 1


def test_a_job_whose_process_ends_twice_is_an_internal_error(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """It was reported as a validation that takes longer than its limit."""

    async def scenario(validators: Validators) -> None:
        call = asyncio.create_task(validators.validate(CATASTROPHIC, ENDLESS))
        while not call.done():
            for worker in workers():
                if worker.cpu_times().user > 1.0:  # more than it takes to start
                    worker.kill()
            await asyncio.sleep(0.05)
        with pytest.raises(InternalError, match="ended unexpectedly"):
            await call
        await validators.validate(PATTERN, '{"word": "a"}')

    run(scenario, budget_seconds=30.0)

    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "A validation process has ended twice while it worked on the same job"
    ]


@ON_BOTH_LOOPS
def test_processes_stay_usable_after_callers_are_cancelled(run: Run) -> None:
    async def scenario(validators: Validators) -> list[Any]:
        await validators.validate(PATTERN, "{}")
        for number in range(200):
            call = asyncio.create_task(validators.validate(PATTERN, json.dumps({"word": "a", "number": number})))
            await asyncio.sleep(0 if number % 2 else 0.0001)
            call.cancel()
        return await asyncio.gather(
            *(validators.validate(PATTERN, json.dumps({"word": word})) for word in ("a", "A", "b")),
            return_exceptions=True,
        )

    good, bad, other = run(scenario)

    assert (good, other) == (None, None)
    assert isinstance(bad, Invalid)


def test_a_job_is_not_begun_when_all_its_callers_are_cancelled(run: Run) -> None:
    async def scenario(validators: Validators) -> float:
        slow = asyncio.create_task(seconds_of(validators.validate(catastrophic(0), ENDLESS)))
        await asyncio.sleep(0.2)
        cancelled = [asyncio.create_task(validators.validate(catastrophic(number), ENDLESS)) for number in range(1, 5)]
        await asyncio.sleep(0.2)
        for task in cancelled:
            task.cancel()
        await slow
        return await seconds_of(validators.validate(PATTERN, "{}"))

    assert run(scenario, processes=1, budget_seconds=2.0) < 6  # it would take 8 s if all were begun


def test_a_job_continues_for_its_other_caller_when_one_is_cancelled(run: Run) -> None:
    async def scenario(validators: Validators) -> Invalid:
        first = asyncio.create_task(validators.validate(PATTERN, '{"word": "A"}'))
        second = asyncio.create_task(refusal(validators.validate(PATTERN, '{"word": "A"}')))
        await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert run(scenario).code == "values_refused"


@ON_BOTH_LOOPS
def test_closing_refuses_all_jobs_and_later_calls(run: Run) -> None:
    async def scenario(validators: Validators) -> list[Any]:
        calls = [asyncio.create_task(validators.validate(catastrophic(number), ENDLESS)) for number in range(5)]
        await asyncio.sleep(0.5)
        await validators.close()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(Unavailable):
            await validators.check("{}")
        return answers

    assert {answer.code for answer in run(scenario, budget_seconds=30.0)} == {"stopping"}


@ON_BOTH_LOOPS
def test_closing_works_at_once_and_twice(run: Run) -> None:
    async def scenario(validators: Validators) -> None:
        call = asyncio.create_task(validators.check("{}"))
        await asyncio.sleep(0.001)
        await validators.close()
        await validators.close()
        with pytest.raises(Unavailable):
            await call

    run(scenario)


def test_an_idle_process_ends_and_is_started_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_IDLE_SECONDS", 0.2)

    async def scenario(validators: Validators) -> int:
        await validators.validate(PATTERN, "{}")
        await asyncio.sleep(1.0)
        remaining = len(workers())
        await validators.validate(PATTERN, "{}")
        return remaining

    assert run(scenario) == 0


def test_a_process_has_a_low_priority_and_no_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("LOG10_SERVER_FIRST_TOKEN", "secret")

    async def scenario(validators: Validators) -> tuple[int, dict[str, str], bool]:
        await validators.validate(PATTERN, "{}")
        (worker,) = workers()
        return worker.nice(), worker.environ(), os.getsid(worker.pid) != os.getsid(0)

    nice, environ, own_session = run(scenario)

    assert nice > os.nice(0) or nice == 19
    assert not any("secret" in value for value in environ.values())
    assert own_session


def test_a_process_ignores_the_signals_that_are_meant_for_the_server(run: Run) -> None:
    async def scenario(validators: Validators) -> bool:
        await validators.validate(PATTERN, "{}")
        (worker,) = workers()
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            worker.send_signal(name)
        await asyncio.sleep(0.2)
        await validators.validate(PATTERN, '{"word": "a"}')
        return workers() == [worker]

    assert run(scenario)


def test_a_process_imports_nothing_from_the_working_directory(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A module in that directory must not replace a module of the same name in a library."""
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    (tmp_path / "jsonschema.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error")

    run(lambda validators: validators.validate(PATTERN, "{}"))


SERVER_PROGRAM = """
import asyncio, os, signal, sys
from log10_server.validation.validators import Validators

async def main():
    validators = Validators(1, 2.0)
    await validators.validate({pattern!r}, "{{}}")
    if sys.argv[1] == "busy":
        task = asyncio.create_task(validators.validate({slow!r}, {values!r}))
        await asyncio.sleep(0.5)
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_killed_server_leaves_no_process_behind(state: str) -> None:
    program = SERVER_PROGRAM.format(pattern=PATTERN, slow=CATASTROPHIC, values=ENDLESS)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program, state], stdout=subprocess.PIPE, env=environ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        workers_of_server = psutil.Process(server.pid).children()
        assert workers_of_server

        server.kill()
        server.wait()

        _, alive = psutil.wait_procs(workers_of_server, timeout=15)
        assert alive == []
