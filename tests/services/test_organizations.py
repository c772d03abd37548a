"""Organizations and tokens: made, named, issued and revoked (docs/api.md, "Tokens and organizations")."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from log10_server.db.database import Database
from log10_server.errors import Conflict, Invalid, NotFound
from log10_server.services import organizations
from log10_server.store import organizations as store
from tests.conftest import Organization

NO_NAMES = [
    " ",
    "a b",
    "a/b",
    "a,b",
    "a?b",
    "a#b",
    "a\\b",
    'a"b',
    "a\nb",
    "a\0",
    "é",
    "💚",
    ".",
    "..",
    "None",
    "x" * 256,
]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.writing() as connection:
        yield connection


def test_an_organization_without_names_gets_an_id_and_a_slug(database: Database, connection: Connection) -> None:
    first, second = (organizations.create(connection, database.clock) for _ in range(2))

    assert len({first.id, first.slug, second.id, second.slug}) == 4


def test_an_id_without_a_slug_serves_as_one(database: Database, connection: Connection) -> None:
    row = organizations.create(connection, database.clock, "acme")

    assert (row.id, row.slug) == ("acme", "acme")


@pytest.mark.parametrize("name", ["acme", "acme-slug"])
def test_an_organization_is_found_by_its_id_and_by_its_slug(
    database: Database, connection: Connection, name: str
) -> None:
    row = organizations.create(connection, database.clock, "acme", "acme-slug")

    assert organizations.get(connection, name) == row


def test_a_name_that_is_taken_as_an_id_or_as_a_slug_is_refused(
    database: Database, connection: Connection, subtests: pytest.Subtests
) -> None:
    organizations.create(connection, database.clock, "acme", "acme-slug")

    for organization_id, slug in [("acme", "new"), ("new", "acme-slug"), ("acme-slug", "new"), ("new", "acme")]:
        with subtests.test(id=organization_id, slug=slug):
            with pytest.raises(Conflict):
                organizations.create(connection, database.clock, organization_id, slug)

            assert len(store.list_all(connection)) == 1


def test_a_name_that_is_blank_or_can_not_stand_in_a_header_is_refused(
    database: Database, connection: Connection, subtests: pytest.Subtests
) -> None:
    for option in ["id", "slug"]:
        for name in NO_NAMES:
            with subtests.test(option=option, name=name):
                organization_id, slug = (name, "fine") if option == "id" else ("fine", name)

                with pytest.raises(Invalid) as refused:
                    organizations.create(connection, database.clock, organization_id, slug)

                assert refused.value.field_errors[0].path == f"/{option}"


def test_an_organization_that_is_not_there_is_not_found(
    database: Database, connection: Connection, subtests: pytest.Subtests
) -> None:
    for name in ["nobody", "", "a\nb"]:
        with subtests.test(name=name), pytest.raises(NotFound):
            organizations.get(connection, name)


def test_a_token_reaches_its_organization(
    database: Database, organization: Organization, connection: Connection
) -> None:
    caller = organizations.find_caller(connection, organization.token)

    assert caller is not None
    assert caller.organization.id == organization.id


def test_an_unknown_token_reaches_nothing(
    database: Database, organization: Organization, connection: Connection, subtests: pytest.Subtests
) -> None:
    for token in ["", "unknown", "é", "\udcff", "x" * 100_000]:
        with subtests.test(token=token):
            assert organizations.find_caller(connection, token) is None


def test_the_value_of_a_token_is_not_stored(
    database: Database, organization: Organization, connection: Connection
) -> None:
    rows = store.list_tokens(connection, organization.id)

    assert organization.token not in str(rows)
    assert rows[0].digest == organizations.digest(organization.token)


def test_a_revoked_token_reaches_nothing_and_the_others_go_on(
    database: Database, organization: Organization, connection: Connection
) -> None:
    issued = organizations.issue_token(connection, database.clock, organization.id)

    organizations.revoke_token(connection, database.clock, issued.row.id)

    assert organizations.find_caller(connection, issued.value) is None
    assert organizations.find_caller(connection, organization.token) is not None


def test_a_token_can_be_revoked_once(database: Database, organization: Organization, connection: Connection) -> None:
    issued = organizations.issue_token(connection, database.clock, organization.id)
    organizations.revoke_token(connection, database.clock, issued.row.id)

    with pytest.raises(NotFound):
        organizations.revoke_token(connection, database.clock, issued.row.id)


def test_a_value_that_programs_have_already_becomes_a_token(
    database: Database, organization: Organization, connection: Connection
) -> None:
    issued = organizations.issue_token(connection, database.clock, organization.id, "brought along")

    assert issued.value == "brought along"
    assert organizations.find_caller(connection, "brought along") is not None


def test_a_value_that_no_header_can_carry_is_refused(
    database: Database, organization: Organization, connection: Connection, subtests: pytest.Subtests
) -> None:
    for value in ["", "short", " leading space", "trailing space ", "line\nbreak", "nul\0 inside", "höflich!"]:
        with subtests.test(value=value), pytest.raises(Invalid):
            organizations.issue_token(connection, database.clock, organization.id, value)


def test_a_value_is_issued_once_even_after_it_was_revoked(
    database: Database, organization: Organization, connection: Connection
) -> None:
    issued = organizations.issue_token(connection, database.clock, organization.id, "brought along")
    organizations.revoke_token(connection, database.clock, issued.row.id)

    with pytest.raises(Conflict):
        organizations.issue_token(connection, database.clock, organization.id, "brought along")


def test_only_an_empty_database_gets_a_first_organization(database: Database, connection: Connection) -> None:
    issued = organizations.create_first(connection, database.clock, None, None)
    again = organizations.create_first(connection, database.clock, None, None)

    assert issued is not None
    assert again is None
    assert [row.slug for row in store.list_all(connection)] == ["default"]
