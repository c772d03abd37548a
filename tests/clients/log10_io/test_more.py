"""What else `log10-io` does: mocked completions, its pytest plugin, proposals as autofeedback, benchmarks of models."""

import json
from typing import Any

import pytest

from tests.clients.log10_io import llm
from tests.clients.log10_io.conftest import Home

POINTED_HERE = """\
import log10._httpx_utils

log10._httpx_utils.GRAPHQL_URL = "{url}/graphql"
"""
EVALS = """\
import pytest
from log10.completions import Completions


@pytest.mark.parametrize("city", ["Oslo", "São Paulo / Brazil [x]"])
def test_capital(city):
    messages = [{"role": "user", "content": city}]
    assert Completions().mock_chat_completions("gpt-4o", messages, "yes").choices


def test_wrong():
    assert 1 == 2
"""


def test_a_mocked_completion_is_logged_whole(home: Home) -> None:
    ran = home.run(
        "-c",
        "from log10.completions import Completions\n"
        "Completions().mock_chat_completions('gpt-4o', [{'role': 'user', 'content': 'Hi'}], 'Hello.', tags=['mine'])",
    )

    assert ran.returncode == 0, ran.stderr
    [completion] = home.get("/completions")["completions"]
    assert completion["status"] == "finished"
    assert completion["tags"] == ["MOCK_CHAT_COMPLETIONS", "mine"]
    assert completion["request"]["messages"] == [{"role": "user", "content": "Hi"}]
    assert completion["response"]["choices"][0]["message"]["content"] == "Hello."


def test_the_pytest_plugin_makes_a_test_run_and_uploads_its_report(home: Home) -> None:
    folder = home.folder / "evals"
    folder.mkdir(exist_ok=True)
    (folder / "conftest.py").write_text(POINTED_HERE.format(url=home.url))
    (folder / "test_evals.py").write_text(EVALS)

    ran = home.run("-m", "pytest", "--log10", "--eval-session-name", "nightly", "--rootdir", folder, folder)

    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "Report successfully uploaded to Log10" in ran.stdout
    [run] = home.get("/test_runs")["test_runs"]
    assert run["name"] == "nightly"
    assert {name: run["summary"][name] for name in ("passed", "failed", "total")} == {
        "passed": 2,
        "failed": 1,
        "total": 3,
    }
    tests = home.get(f"/test_runs/{run['id']}")["tests"]
    assert [test["outcome"] for test in tests] == ["passed", "passed", "failed"]
    assert [len(test["completion_ids"]) for test in tests] == [1, 1, 0]


def test_a_proposal_is_the_autofeedback_of_its_completion(home: Home) -> None:
    home.post("/completions", id="one", tags=["tag"])
    home.post("/completions", id="two")
    home.post("/feedback_task", id="task", name="quality", json_schema={}, completion_tags_selector=["tag"])
    values = {"grade": 4, "note": None}
    proposal = home.post("/feedback", task_id="task", json_values=values, completion_ids=["one"], state="proposed")
    program = (
        POINTED_HERE.format(url=home.url)
        + "import json\nfrom log10.feedback.autofeedback import get_autofeedback\n"
        + "print(json.dumps([get_autofeedback(id)['data']['organization']['completion'] for id in ('one', 'two')]))"
    )

    ran = home.run("-c", program)

    assert ran.returncode == 0, ran.stderr
    first, second = json.loads(ran.stdout.splitlines()[-1])
    assert first["autoFeedback"] == {"id": proposal["id"], "status": "proposed", "jsonValues": values, "comment": ""}
    assert second["autoFeedback"] is None


@pytest.mark.parametrize("file", ["report.jsonl", "report.md", "report.csv"])
def test_models_are_benchmarked_on_stored_completions(home: Home, file: str) -> None:
    request: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "How are you?"}]}
    answer = {
        "model": "gpt-4o",
        "choices": [{"message": {"role": "assistant", "content": "Fine."}}],
        "usage": llm.USAGE,
    }
    home.post("/completions", id="one", tags=["bench"], request=request, response=answer, duration=0.5)

    with llm.served() as port:
        ran = home.run(
            "-m", "log10", "completions", "benchmark_models", "--tags", "bench", "--models", "gpt-4o", "--file", file,
            OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1",
        )  # fmt: skip

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "You said: How are you?" in (home.folder / file).read_text()
