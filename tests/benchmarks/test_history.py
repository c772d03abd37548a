"""The history that `make bench-scale` builds is as documented, on both databases."""

from benchmarks import history
from benchmarks.loading import completion_id, load_completions, load_feedback
from log10_server.db.database import Database
from log10_server.services import feedback_tasks, selectors, ungraded
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.selectors import Selector
from tests.conftest import Organization

SIZE = 2000


def test_half_of_the_history_matches_a_task_and_nearly_all_of_that_is_graded(
    database: Database, organization: Organization
) -> None:
    with database.writing() as connection:
        for user in range(history.TASKS):
            task = NewFeedbackTask(f"task-{user}", "", "", "{}", (f"user:{user}",))
            feedback_tasks.create(database.tx(connection, organization.id), task)

    load_completions(database, organization.id, range(SIZE), 600, history.tags)
    load_feedback(database, organization.id, history.graded(range(SIZE)), "{}")

    with database.reading() as connection:
        tx = database.tx(connection, organization.id)
        left = [row.id for row in ungraded.list_newest(tx, None, 0, 1000)]
        both, third = selectors.resolve(
            tx, [Selector(("half:a", "half:b"), False, 100), Selector(("share:30",), False, SIZE)]
        )
    assert left == [completion_id(number) for number in reversed(range(17, SIZE, history.USERS))]
    assert both == [completion_id(1000), completion_id(0)]
    assert isinstance(third, list)
    assert len(third) == history.how_many_of_share_30(SIZE)
    assert third[:50] == history.newest_of_share_30(SIZE, 50)


def test_the_share_of_30_percent_is_counted_at_any_size() -> None:
    for size in (0, 1, 3, 4, 9, 10, 25):
        assert history.how_many_of_share_30(size) == sum(map(history.is_of_share_30, range(size)))
