"""Every table belongs to organizations, and the database itself keeps them apart (docs/api.md, "Tokens and organizations")."""

import random
import string
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Double,
    ForeignKeyConstraint,
    Integer,
    Table,
    insert,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError

from log10_server.db.database import Database
from log10_server.db.schema import metadata
from log10_server.store.rollups import rollup
from tests.conftest import Api, Served, new_organization

OWNED = [table for table in metadata.sorted_tables if table.name != "organization"]
LINKS = [
    pytest.param(table, link, id=f"{table.name}-{link.referred_table.name}")
    for table in OWNED
    for link in sorted(table.foreign_key_constraints, key=lambda link: link.referred_table.name)
    if link.referred_table.name != "organization"
]


def row(table: Table, which: int) -> dict[str, Any]:
    """A row of the organization number `which` (1 or 2); all its keys and links are of that number."""
    values: dict[type, Any] = {BigInteger: which, Integer: which, Boolean: False, Double: 1.0}
    return {column.name: values.get(type(column.type), "ab"[which - 1]) for column in table.columns}


def fill(connection: Connection, which: int, until: Table | None = None) -> None:
    """A row in every table, or in those that come before `until`."""
    for table in metadata.sorted_tables:
        if table is until:
            return
        connection.execute(insert(table).values(row(table, which)))


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)
def test_the_primary_key_of_every_table_begins_with_the_organization(table: Table) -> None:
    assert table.primary_key.columns.keys()[0] == "organization_id"
    assert len(table.primary_key.columns) > 1 or table is rollup  # which has one row for each organization


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)
def test_every_table_belongs_to_an_organization_by_a_foreign_key_of_its_own_or_of_what_it_links(table: Table) -> None:
    links = {link.referred_table.name for link in table.foreign_key_constraints}

    assert "organization" in links or len(links) >= 2 or links <= {"tag"}


@pytest.mark.parametrize(("table", "link"), LINKS)
def test_every_foreign_key_begins_with_the_organization(table: Table, link: ForeignKeyConstraint) -> None:
    assert link.column_keys[0] == "organization_id"
    assert [element.column.name for element in link.elements] == ["organization_id", "id"]


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)
def test_every_index_begins_with_the_organization_but_those_that_find_a_token(table: Table) -> None:
    first = {index.columns.keys()[0] for index in table.indexes}

    assert first <= {"organization_id"} | ({"digest", "id"} if table.name == "token" else set())


@pytest.mark.parametrize(("table", "link"), LINKS)
def test_the_database_refuses_a_link_across_organizations(
    database: Database, table: Table, link: ForeignKeyConstraint
) -> None:
    column = link.column_keys[1]
    with database.writing() as connection:
        fill(connection, 1)
        fill(connection, 2, until=table)
        across = {**row(table, 2), column: row(table, 1)[column]}

        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(insert(table).values(across))

        connection.execute(insert(table).values(row(table, 2)))


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)
def test_the_database_refuses_a_row_of_no_organization(database: Database, table: Table) -> None:
    with database.writing() as connection:
        fill(connection, 1, until=table)

        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(insert(table).values({**row(table, 1), "organization_id": "nobody"}))


@pytest.mark.parametrize("table", [table for table in OWNED if table.name != "token"], ids=lambda table: table.name)
def test_two_organizations_may_use_the_same_key(database: Database, table: Table) -> None:
    same = {"token": row(metadata.tables["token"], 2)}
    with database.writing() as connection:
        fill(connection, 1)
        connection.execute(insert(metadata.tables["organization"]).values(row(metadata.tables["organization"], 2)))
        for each in OWNED:
            values = same.get(each.name, row(each, 1))
            connection.execute(insert(each).values({**values, "organization_id": "b"}))

        assert len(connection.execute(select(table)).all()) == 2


def test_every_text_in_an_index_sorts_by_code_point(database: Database) -> None:
    if database.kind == "sqlite":
        return  # SQLite compares bytes unless it is told otherwise
    with database.reading() as connection:
        columns = connection.execute(
            text(
                """
                SELECT i.indrelid::regclass::text, a.attname, c.collname
                FROM pg_index i
                JOIN pg_class t ON t.oid = i.indrelid AND t.relnamespace = 'public'::regnamespace
                JOIN pg_attribute a ON a.attrelid = i.indexrelid
                JOIN pg_collation c ON c.oid = a.attcollation
                WHERE t.relname <> 'alembic_version'
                """
            )
        ).all()

    assert len(columns) > 20
    assert [column for column in columns if column[2] != "C"] == []


def incompressible(size: int) -> str:
    """Text of `size` bytes that no index entry can make shorter."""
    return "".join(random.choices(string.ascii_letters + string.digits + "-_", k=size))


def test_the_longest_keys_of_all_fit_into_every_index(database: Database, serving: Served) -> None:
    completion, task, feedback = (incompressible(255) for _ in range(3))
    session, tags = incompressible(512), [incompressible(8192) for _ in range(3)]
    owner = new_organization(database, incompressible(255), incompressible(255))

    with Api(serving.url, owner) as api:
        request = {"model": incompressible(255), "messages": []}
        fields = {
            "session_id": session,
            "failure_kind": incompressible(4096),
            "failure_reason": incompressible(1 << 20),
        }
        api.completion(id=completion, tags=tags, request=request, **fields)
        api.task(tags, id=task, name=incompressible(4096), instruction=incompressible(1 << 20))
        ungraded = api.ungraded(task_id=task)
        stored_feedback = api.upload(task, id=feedback, completion_tags_selector=tags, comment=incompressible(1 << 20))
        listed = api.get("/completions", params={"session_id": session}).json()["completions"]

    assert ungraded == [completion]
    assert stored_feedback["matched_completion_ids"] == [completion]
    assert [row["id"] for row in listed] == [completion]


def test_a_thousand_of_the_longest_tags_fit_on_a_completion(database: Database, api: Api) -> None:
    tags = [incompressible(8192) for _ in range(1000)]

    answer = api.post("/completions", json={"tags": tags})

    assert answer.status_code == 201
    assert answer.json()["tags"] == tags
