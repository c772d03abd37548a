"""Where validating happens: in place, or in processes that are killed at their deadline (docs/api.md, "Task schemas")."""

import asyncio
import json
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

from log10_server.errors import FieldError, Invalid, Unavailable
from log10_server.validation import process, queue
from log10_server.validation.validators import Validators

Story = Callable[[Validators], Coroutine[Any, Any, Any]]
Run = Callable[..., Any]

PLAIN = json.dumps(
    {"type": "object", "properties": {"grade": {"type": "integer", "maximum": 5}}, "required": ["grade"]}
)
PATTERN = json.dumps({"properties": {"word": {"type": "string", "pattern": "^[a-z]+$"}}})
CATASTROPHIC = json.dumps({"properties": {"word": {"pattern": "^(a+)+$"}}})
ENDLESS = json.dumps({"word": "a" * 40 + "!"})
ON_ONE_LOOP = pytest.mark.parametrize("run", ["asyncio"], indirect=True)  # where the loop makes no difference
SOON = 5.0  # for what takes milliseconds, on a machine that may be busy


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, bystanders: None) -> Run:
    """Runs a story with validators, closes them, and sees that nothing is left."""
    runner: Run = asyncio.run if request.param == "asyncio" else uvloop.run

    def run(story: Story, processes: int = 2, budget_seconds: float = 1.0) -> Any:
        async def whole() -> Any:
            validators = Validators(processes, budget_seconds)
            try:
                return await story(validators)
            finally:
                await validators.close()

        outcome = runner(whole())
        assert workers() == []
        return outcome

    return run


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def bystanders() -> None:
    """What other tests of this process have started and not ended yet, such as a server that several of them share."""
    _bystanders[:] = children()


_bystanders: list[psutil.Process] = []


def workers() -> list[psutil.Process]:
    return [child for child in children() if child not in _bystanders]


async def refusal(asked: Awaitable[None]) -> Invalid:
    with pytest.raises(Invalid) as refused:
        await asked
    return refused.value


async def timed(asked: Awaitable[Any]) -> float:
    """The seconds that it takes, whatever comes of it."""
    started = time.perf_counter()
    await asyncio.gather(asked, return_exceptions=True)
    return time.perf_counter() - started


def pattern(number: int) -> str:
    return json.dumps({"title": str(number), "properties": {"word": {"pattern": "^[a-z]+$"}}})


def catastrophic(number: int) -> str:
    return json.dumps({"title": str(number), "properties": {"word": {"pattern": "^(a+)+$"}}})


# What is answered


def test_a_schema_is_checked_with_all_its_faults(run: Run) -> None:
    async def story(validators: Validators) -> Invalid:
        await validators.check(PATTERN)
        return await refusal(validators.check('{"$ref": "http://x", "properties": {"x": {"type": 5}}}'))

    refused = run(story)

    assert refused.code == "invalid_schema"
    assert [fault.path for fault in refused.faults] == ["/json_schema/$ref", "/json_schema/properties/x/type"]


@pytest.mark.parametrize(
    ("schema", "good", "bad", "at"),
    [
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
    ],
)
def test_values_are_validated_in_place_or_elsewhere(run: Run, schema: str, good: Any, bad: Any, at: str) -> None:
    async def story(validators: Validators) -> Invalid:
        await validators.validate(schema, json.dumps(good))
        return await refusal(validators.validate(schema, json.dumps(bad)))

    refused = run(story)

    assert refused.code == "values_refused"
    assert [fault.path for fault in refused.faults] == [at]


def test_what_is_plain_and_small_needs_no_process(run: Run) -> None:
    async def story(validators: Validators) -> tuple[int, int]:
        await validators.validate(PLAIN, '{"grade": 1}')
        await refusal(validators.validate(PLAIN, "[]"))
        before = len(workers())
        await validators.validate(PATTERN, "{}")
        return before, len(workers())

    assert run(story) == (0, 1)


def test_a_process_is_used_again(run: Run) -> None:
    async def story(validators: Validators) -> bool:
        await validators.validate(PATTERN, '{"word": "a"}')
        first = {worker.pid for worker in workers()}
        for number in range(50):
            await validators.validate(PATTERN, json.dumps({"word": "a", "number": number}))
        return {worker.pid for worker in workers()} == first

    assert run(story)


def test_many_at_once_each_get_their_own_answer(run: Run) -> None:
    async def story(validators: Validators) -> list[Any]:
        return await asyncio.gather(
            *(
                validators.validate(
                    pattern(number % 7), json.dumps({"word": "a" if number % 3 else "A", "number": number})
                )
                for number in range(300)
            ),
            return_exceptions=True,
        )

    answers = run(story)

    assert [isinstance(answer, Invalid) for answer in answers] == [number % 3 == 0 for number in range(300)]
    assert all(answer is None for number, answer in enumerate(answers) if number % 3)


def test_values_and_schemas_of_megabytes_go_through(run: Run) -> None:
    large = json.dumps({"word": "a" * 20_000_000})
    wide = json.dumps({"description": "x" * 2_000_000, "properties": {"word": {"pattern": "^a*$"}}})

    async def story(validators: Validators) -> None:
        await validators.check(wide)
        await validators.validate(wide, large)
        await validators.validate(PLAIN, large[:-1] + ', "grade": 1}')

    run(story, budget_seconds=20)


@ON_ONE_LOOP
def test_values_as_deep_as_can_be_are_validated_by_a_recursive_schema(run: Run) -> None:
    node = {
        "anyOf": [
            {"type": "null"},
            {"allOf": [{"oneOf": [{"properties": {"next": {"$ref": "#/$defs/node"}}, "not": {"type": "string"}}]}]},
        ]
    }
    schema = json.dumps({"$defs": {"node": node}, "$ref": "#/$defs/node"})
    good, bad = ('{"next":' * 199 + last + "}" * 199 for last in ("[]", '"x"'))

    async def story(validators: Validators) -> Invalid:
        await validators.check(schema)
        await validators.validate(schema, good)
        return await refusal(validators.validate(schema, bad))

    refused = run(story, budget_seconds=20)

    assert refused.faults == [FieldError("/json_values" + "/next" * 199, "Must not fit the schema in `not`.")]


@ON_ONE_LOOP
@pytest.mark.parametrize("around", ["properties", "items", "anyOf", "allOf"])
def test_a_schema_as_deep_as_can_be_is_checked(run: Run, around: str) -> None:
    schema: Any = {"pattern": "a"}
    for _ in range(95):
        schema = {around: {"x": schema} if around == "properties" else [schema] if around.endswith("Of") else schema}

    async def story(validators: Validators) -> None:
        await validators.check(json.dumps(schema))
        await validators.validate(json.dumps(schema), "{}")

    run(story, budget_seconds=20)


@ON_ONE_LOOP
def test_a_schema_that_refers_to_itself_without_end_refuses_its_values(run: Run) -> None:
    schema = json.dumps({"$dynamicAnchor": "a", "not": {"$dynamicRef": "#a"}})

    async def story(validators: Validators) -> Invalid:
        await validators.check(schema)
        return await refusal(validators.validate(schema, "{}"))

    refused = run(story, budget_seconds=20)

    assert refused.code == "values_refused"
    assert "without end" in refused.faults[0].message


# The budget


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (CATASTROPHIC, ENDLESS),
        (json.dumps({"patternProperties": {"^(a+)+$": {}}}), json.dumps({"a" * 40 + "!": 1})),
        (
            json.dumps(
                {
                    "$defs": {
                        **{f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)},
                        "a40": False,
                    },
                    "$ref": "#/$defs/a0",
                }
            ),
            "{}",
        ),
    ],
)
def test_what_overruns_its_budget_is_refused(run: Run, schema: str, values: str) -> None:
    async def story(validators: Validators) -> tuple[Invalid, float]:
        await validators.check(schema)
        started = time.perf_counter()
        return await refusal(validators.validate(schema, values)), time.perf_counter() - started

    refused, seconds = run(story)

    assert refused.code == "validation_timeout"
    assert refused.faults == [FieldError("/json_values", "Validating takes longer than the 1 s that it may.")]
    assert 0.9 < seconds < SOON


@ON_ONE_LOOP
def test_so_is_a_schema_whose_check_does(run: Run) -> None:
    schema = json.dumps({"properties": {f"p{number}": {"type": "string"} for number in range(20_000)}})

    refused = run(lambda validators: refusal(validators.check(schema)), budget_seconds=0.05)

    assert refused.code == "validation_timeout"
    assert refused.faults[0].path == "/json_schema"


def test_meanwhile_others_are_answered(run: Run) -> None:
    async def story(validators: Validators) -> list[float]:
        await validators.validate(PATTERN, '{"word": "a"}')
        slow = asyncio.create_task(refusal(validators.validate(CATASTROPHIC, ENDLESS)))
        await asyncio.sleep(0.2)
        seconds = [
            await timed(validators.validate(PLAIN, '{"grade": 1}')),
            await timed(validators.validate(PATTERN, '{"word": "b"}')),
            await timed(validators.validate(pattern(1), '{"word": "b"}')),  # never seen before
            await timed(validators.check(PATTERN)),
        ]
        assert not slow.done()
        slow.cancel()
        return seconds

    assert max(run(story, budget_seconds=SOON + 1)) < SOON


def test_many_uploads_to_one_slow_schema_leave_a_process_for_others(run: Run) -> None:
    async def story(validators: Validators) -> list[float]:
        slow = [
            asyncio.create_task(timed(validators.validate(CATASTROPHIC, json.dumps({"word": "a" * 40 + "!" * number}))))
            for number in range(1, 11)
        ]
        await asyncio.sleep(0.1)
        seconds = []
        for number in range(10):
            seconds.append(await timed(validators.validate(pattern(number), '{"word": "b"}')))
            await asyncio.sleep(0.1)
        for task in slow:
            task.cancel()
        return seconds

    assert max(run(story, budget_seconds=4.0)) < 3.0


@ON_ONE_LOOP
def test_a_schema_that_proved_itself_has_a_process_whatever_else_is_slow(run: Run) -> None:
    async def story(validators: Validators) -> float:
        await validators.validate(PATTERN, '{"word": "a"}')
        slow = [asyncio.create_task(timed(validators.validate(catastrophic(number), ENDLESS))) for number in range(6)]
        await asyncio.sleep(0.1)
        seconds = await timed(validators.validate(PATTERN, '{"word": "b"}'))
        for task in slow:
            task.cancel()
        return seconds

    assert run(story, budget_seconds=8.0) < SOON


def test_a_schema_that_overran_has_a_lane_of_its_own(run: Run) -> None:
    async def story(validators: Validators) -> tuple[float, bool]:
        await refusal(validators.validate(CATASTROPHIC, ENDLESS))
        slow = [
            asyncio.create_task(timed(validators.validate(CATASTROPHIC, json.dumps({"word": "a" * 40 + "!" * number}))))
            for number in range(2, 5)
        ]
        await asyncio.sleep(0.3)
        seconds = await timed(validators.validate(PATTERN, '{"word": "b"}'))
        open_still = not any(task.done() for task in slow)
        for task in slow:
            task.cancel()
        return seconds, open_still

    seconds, open_still = run(story, processes=1, budget_seconds=2.0)

    assert seconds < 1.9
    assert open_still


@ON_ONE_LOOP
def test_a_slow_schema_still_validates_what_it_can(run: Run) -> None:
    async def story(validators: Validators) -> Invalid:
        await refusal(validators.validate(CATASTROPHIC, ENDLESS))
        await validators.validate(CATASTROPHIC, '{"word": "aaa"}')
        return await refusal(validators.validate(CATASTROPHIC, '{"word": "b"}'))

    assert run(story).code == "values_refused"


def test_the_same_asked_at_once_is_done_once(run: Run) -> None:
    async def story(validators: Validators) -> tuple[list[Invalid], float]:
        started = time.perf_counter()
        refused = await asyncio.gather(*(refusal(validators.validate(CATASTROPHIC, ENDLESS)) for _ in range(20)))
        return refused, time.perf_counter() - started

    refused, seconds = run(story)

    assert {each.code for each in refused} == {"validation_timeout"}
    assert seconds < SOON


@ON_ONE_LOOP
def test_waiting_has_an_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(validators: Validators) -> tuple[Unavailable, float]:
        await validators.check("{}")  # so that the process is there
        monkeypatch.setattr(queue, "_WAIT_SECONDS", 0.3)
        slow = asyncio.create_task(timed(validators.validate(CATASTROPHIC, ENDLESS)))
        await asyncio.sleep(0.1)
        started = time.perf_counter()
        with pytest.raises(Unavailable) as refused:
            await validators.validate(pattern(1), '{"word": "b"}')
        seconds = time.perf_counter() - started
        await slow
        monkeypatch.undo()
        await validators.validate(pattern(1), '{"word": "b"}')
        return refused.value, seconds

    refused, seconds = run(story, processes=1, budget_seconds=3.0)

    assert refused.code == "overloaded"
    assert seconds < 2.5


@ON_ONE_LOOP
def test_too_much_that_waits_is_refused_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_WAITING_BYTES", 10_000)

    async def story(validators: Validators) -> list[Any]:
        return await asyncio.gather(
            *(validators.validate(PATTERN, json.dumps({"n": number, "x": "x" * 3000})) for number in range(20)),
            return_exceptions=True,
        )

    answers = run(story)

    codes = [answer.code for answer in answers if isinstance(answer, Unavailable)]
    assert codes == ["overloaded"] * len(codes)
    assert 10 <= len(codes) < 20
    assert answers.count(None) == 20 - len(codes)


@ON_ONE_LOOP
def test_memory_has_an_end_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of 7 MB that takes some 250 to hold."""
    monkeypatch.setattr(process, "_MEMORY_BYTES", 200 << 20)
    text = '{"a": [' + "[[[[[[[[]]]]]]]]," * 400_000 + "0]}"

    async def story(validators: Validators) -> tuple[Invalid, int]:
        refused = await refusal(validators.validate(PATTERN, text))
        await validators.validate(PATTERN, '{"word": "a"}')
        return refused, max(worker.memory_info().rss for worker in workers())

    refused, used = run(story, budget_seconds=60)

    assert refused.code == "values_refused"
    assert refused.faults == [FieldError("/json_values", "Validating takes more memory than it may.")]
    assert used < 100 << 20  # a new process


# What happens to processes


def test_a_process_killed_in_between_is_replaced(run: Run) -> None:
    async def story(validators: Validators) -> None:
        for number in range(3):
            await validators.validate(PATTERN, json.dumps({"word": "a", "number": number}))
            for worker in workers():
                worker.kill()
            if number:
                await asyncio.sleep(0.2)
        await asyncio.gather(*(validators.validate(pattern(number), '{"word": "a"}') for number in range(10)))

    run(story)


def test_a_process_killed_in_the_middle_has_its_job_done_by_another(run: Run) -> None:
    slow = json.dumps({"properties": {"word": {"pattern": "^(a|a)*$"}}})  # doubles with each letter

    async def story(validators: Validators) -> tuple[Invalid, int]:
        await validators.check("{}")
        asked = asyncio.create_task(refusal(validators.validate(slow, json.dumps({"word": "a" * 40 + "!"}))))
        await asyncio.sleep(0.3)
        killed = [worker.pid for worker in workers()]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(1.0)
        alive = [worker.pid for worker in workers() if worker.pid not in killed]
        assert not asked.done()
        return await asked, len(alive)

    refused, alive = run(story, budget_seconds=3.0)

    assert refused.code == "validation_timeout"
    assert alive >= 1


@ON_ONE_LOOP
def test_a_job_whose_process_ends_twice_is_refused(run: Run) -> None:
    async def story(validators: Validators) -> Invalid:
        asked = asyncio.create_task(refusal(validators.validate(CATASTROPHIC, ENDLESS)))
        while not asked.done():
            for worker in workers():
                if worker.cpu_times().user > 1.0:  # beyond its start
                    worker.kill()
            await asyncio.sleep(0.05)
        return await asked

    assert run(story, budget_seconds=30.0).code == "validation_timeout"


def test_a_caller_that_goes_away_leaves_the_processes_in_order(run: Run) -> None:
    async def story(validators: Validators) -> list[Any]:
        await validators.validate(PATTERN, "{}")
        for number in range(200):
            asked = asyncio.create_task(validators.validate(PATTERN, json.dumps({"word": "a", "number": number})))
            await asyncio.sleep(0 if number % 2 else 0.0001)
            asked.cancel()
        return await asyncio.gather(
            *(validators.validate(PATTERN, json.dumps({"word": word})) for word in ("a", "A", "b")),
            return_exceptions=True,
        )

    good, bad, other = run(story)

    assert (good, other) == (None, None)
    assert isinstance(bad, Invalid)


@ON_ONE_LOOP
def test_what_all_callers_have_left_is_not_begun(run: Run) -> None:
    async def story(validators: Validators) -> float:
        slow = asyncio.create_task(timed(validators.validate(catastrophic(0), ENDLESS)))
        await asyncio.sleep(0.2)
        left = [asyncio.create_task(validators.validate(catastrophic(number), ENDLESS)) for number in range(1, 5)]
        await asyncio.sleep(0.2)
        for task in left:
            task.cancel()
        await slow
        return await timed(validators.validate(PATTERN, "{}"))

    assert run(story, processes=1, budget_seconds=2.0) < 4


def test_one_of_two_callers_may_go_away(run: Run) -> None:
    async def story(validators: Validators) -> Invalid:
        first = asyncio.create_task(validators.validate(PATTERN, '{"word": "A"}'))
        second = asyncio.create_task(refusal(validators.validate(PATTERN, '{"word": "A"}')))
        await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert run(story).code == "values_refused"


def test_closing_refuses_what_waits_and_what_comes_later(run: Run) -> None:
    async def story(validators: Validators) -> list[Any]:
        asked = [asyncio.create_task(validators.validate(catastrophic(number), ENDLESS)) for number in range(5)]
        await asyncio.sleep(0.5)
        await validators.close()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        with pytest.raises(Unavailable):
            await validators.check("{}")
        return answers

    assert {answer.code for answer in run(story, budget_seconds=30.0)} == {"stopping"}


def test_closing_at_once_and_twice_is_fine(run: Run) -> None:
    async def story(validators: Validators) -> None:
        asked = asyncio.create_task(validators.check("{}"))
        await asyncio.sleep(0.001)
        await validators.close()
        await validators.close()
        with pytest.raises(Unavailable):
            await asked

    run(story)


def test_an_idle_process_ends_and_comes_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_IDLE_SECONDS", 0.2)

    async def story(validators: Validators) -> int:
        await validators.validate(PATTERN, "{}")
        await asyncio.sleep(1.0)
        left = len(workers())
        await validators.validate(PATTERN, "{}")
        return left

    assert run(story) == 0


@ON_ONE_LOOP
def test_a_process_is_modest_and_knows_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("LOG10_SERVER_FIRST_TOKEN", "secret")

    async def story(validators: Validators) -> tuple[int, dict[str, str], bool]:
        await validators.validate(PATTERN, "{}")
        (worker,) = workers()
        return worker.nice(), worker.environ(), os.getsid(worker.pid) != os.getsid(0)

    nice, environ, own_session = run(story)

    assert nice > os.nice(0) or nice == 19
    assert not any("secret" in value for value in environ.values())
    assert own_session


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_to_all_processes_of_the_server_leaves_it_working(run: Run, name: str) -> None:
    async def story(validators: Validators) -> bool:
        await validators.validate(PATTERN, "{}")
        (worker,) = workers()
        worker.send_signal(getattr(signal, name))
        await asyncio.sleep(0.2)
        await validators.validate(PATTERN, '{"word": "a"}')
        return workers() == [worker]

    assert run(story)


@ON_ONE_LOOP
def test_neither_the_folder_nor_the_python_path_matters(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A module in the folder that is named like one of the library's must not be taken for it."""
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    (tmp_path / "jsonschema.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error")

    run(lambda validators: validators.validate(PATTERN, "{}"))


LEFT_ALONE = """
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
    program = LEFT_ALONE.format(pattern=PATTERN, slow=CATASTROPHIC, values=ENDLESS)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program, state], stdout=subprocess.PIPE, env=environ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        left = psutil.Process(server.pid).children()
        assert left

        server.kill()
        server.wait()

        _, alive = psutil.wait_procs(left, timeout=15)
        assert alive == []
