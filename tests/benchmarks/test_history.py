"""The history that `make bench-scale` builds is as documented, on both databases."""

from benchmarks import bodies, history
from benchmarks.loading import completion_id, load_completions, load_feedback
from log10_server.db.database import Database
from log10_server.services import feedback_tasks, selectors, ungraded
from log10_server.services.selectors import Selector
from tests.conftest import Organization

SIZE = 2000


def test_the_loaded_history_is_what_its_functions_say(database: Database, organization: Organization) -> None:
    for task in history.tasks():
        database.write(organization.id, lambda tx, task=task: feedback_tasks.create(tx, task))  # type: ignore[misc]

    load_completions(database, organization.id, range(SIZE), 800, lambda number: history.fields(number, SIZE))
    load_feedback(database, organization.id, history.feedback(SIZE))

    with database.reading() as connection:
        tx = database.tx(connection, organization.id)
        graded_user = ungraded.list_newest(tx, f"task-{history.GRADED_USER}", 0, 1000)
        user = ungraded.list_newest(tx, "task-7", 0, 1000)
        both, own = selectors.resolve(
            tx, [Selector(("checked", "unchecked"), False, 100), Selector((bodies.own_tag(7),), False, 1)]
        )
    assert graded_user == []
    left = [number for number in reversed(range(7, SIZE, bodies.USERS)) if not history.is_graded(number)]
    assert user == [completion_id(number) for number in left]
    assert own == [completion_id(7)]
    assert isinstance(both, list)
    assert len(both) == history.RARE


def test_the_history_has_a_few_of_everything_that_is_rare() -> None:
    rows = [history.fields(number, 10_000) for number in range(10_000)]

    assert sum(row["status"] == "started" for row in rows) == history.RARE
    assert sum(row["status"] == "failed" for row in rows) == 10
    assert sum(row["kind"] == "prompt" for row in rows) == 5
    assert sum(row["model"] == history.RARE_MODEL for row in rows) == history.RARE
    assert sum(row["session_id"] == "small-session" for row in rows) == history.SMALL_SESSION
    assert len({row["session_id"] for row in rows}) == 10_000 - history.SMALL_SESSION + 1
    assert [row["created_at"] for row in rows] == sorted({row["created_at"] for row in rows})


def test_feedback_is_on_about_a_fifth_of_all_completions() -> None:
    assert history.feedback_count(100_000) == sum(1 for _ in history.feedback(100_000))
    assert 0.2 < history.feedback_count(100_000) / 100_000 < 0.23
