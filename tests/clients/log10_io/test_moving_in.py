"""What the real `log10` downloads can be moved into another organization."""

from log10_server.db.database import Database
from tests.clients.log10_io.conftest import Home
from tests.conftest import new_organization
from tests.moving import exported, import_lines
from tests.services.test_transfer import parsed

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "é"}], "n": None}
ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Fine."}}],
    "usage": {"prompt_tokens": 2},
}


def test_downloads_of_the_real_client_are_moved_in_with_ids_times_tags_and_links(
    home: Home, database: Database
) -> None:
    for number in range(12):
        home.post("/completions", id=f"c-{number}", tags=["b", "a"], request=CHAT, response=ANSWER, duration=1.25)
    home.post("/feedback_task", id="task", name="quality", json_schema={}, completion_tags_selector=["a"])
    for number in range(11):
        home.post("/feedback", id=f"f-{number}", task_id="task", json_values={"n": number}, completion_ids=["c-3"])
    home.log10("completions", "download", "--limit", "12", "--file", "moving-completions.jsonl")
    home.log10("feedback", "download", "--limit", "11", "--file", "moving-feedback.jsonl")
    files = [home.folder / "moving-completions.jsonl", home.folder / "moving-feedback.jsonl"]
    target = new_organization(database)

    results = [import_lines(database, target.id, file.read_bytes()) for file in files]

    assert [(tally.stored, refused) for tally, refused in results] == [(12, []), (11, [])]
    moved = {line["id"]: line for line in parsed(exported(database, target.id))}
    before = {line["id"]: line for line in parsed(exported(database, "the-organization-of-the-programs"))}
    for number in range(12):  # the download says in words what was only shown
        assert moved[f"c-{number}"] == {**before[f"c-{number}"], "kind": "chat", "status": "finished"}
    for number in range(11):
        there_, here = moved[f"f-{number}"], before[f"f-{number}"]
        assert {**there_, "created_at": "", "content_digest": ""} == {**here, "created_at": "", "content_digest": ""}
        assert there_["created_at"][:19] == here["created_at"][:19]
    assert moved["task"]["name"] == "quality"
    assert moved["task"]["archived"] is True
