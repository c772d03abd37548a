"""Feedback is accepted while something else happens to its completion: what is ungraded stays true (docs/api.md, "Ungraded completions")."""

import threading
from collections.abc import Callable

import pytest

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.services import completions, feedback, feedback_tasks, ungraded
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.selectors import CompletionList
from tests.conftest import Organization

Work = Callable[[Tx], object]


def at_once(database: Database, organization: Organization, first: Work, second: Work) -> None:
    """Two processes: `first` is done but not committed until `second` has ended, or waits for it."""

    def do_second() -> None:
        with database.writing() as connection:
            second(database.tx(connection, organization.id))

    other = threading.Thread(target=do_second)
    with database.writing() as connection:
        first(database.tx(connection, organization.id))
        other.start()
        other.join(timeout=0.3)
    other.join()


def accept(tx: Tx) -> None:
    feedback.accept(tx, "proposal")


def retag(tx: Tx) -> None:
    completions.record(tx, [Entry("one", {"tags": ["a", "b"]})])


def delete_other(tx: Tx) -> None:
    feedback.delete(tx, "other")


def upload(tx: Tx) -> None:
    feedback.record(tx, [NewFeedback("new", "task", "{}", "", CompletionList(("one",)))])


@pytest.fixture
def ready(database: Database, organization: Organization) -> None:
    """An ungraded completion, and proposed feedback on it."""
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        completions.record(tx, [Entry("one", {"tags": ["a"]})])
        feedback_tasks.create(tx, NewFeedbackTask("task", "n", "", "{}", ("a",)))
        feedback.record(tx, [NewFeedback("proposal", "task", "{}", "", CompletionList(("one",)), "proposed")])


@pytest.mark.parametrize("grade", [accept, upload])
@pytest.mark.parametrize("grades_first", [True, False])
@pytest.mark.parametrize("other", [retag, delete_other])
def test_what_is_graded_meanwhile_is_not_ungraded(
    database: Database, organization: Organization, ready: None, grade: Work, grades_first: bool, other: Work
) -> None:
    if other is delete_other:
        with database.writing() as connection:
            new = NewFeedback("other", "task", "{}", "", CompletionList(("one",)))
            feedback.record(database.tx(connection, organization.id), [new])

    at_once(database, organization, *((grade, other) if grades_first else (other, grade)))

    with database.reading() as connection:
        assert ungraded.list_newest(database.tx(connection, organization.id), None, 0, 10) == []
