"""A database goes up, down and up again, by one program or by many at once, and ends as the models say."""

import ast
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.db.failures import WrongSchema
from log10_server.db.schema import metadata
from log10_server.errors import Unavailable
from log10_server.services import organizations
from tests.conftest import KINDS
from tests.forked import ForkedProcess


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, postgres_urls: dict[str, str]) -> str:
    """A database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fresh.db"
    server = Database(postgres_urls[request.param])
    name = f"fresh_{uuid.uuid4().hex}"
    with server.backend.read_engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    fresh = server.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    server.close()
    return fresh


@pytest.fixture
def fresh(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def of_table(database: Database, table: str, what: str) -> Any:
    """What the inspector's `what` tells of a table."""
    return inspected(database, lambda inspector: getattr(inspector, what)(table))


def inspected(database: Database, look: Callable[[Any], Any]) -> Any:
    with database.backend.write_engine.connect() as connection:
        return look(sa.inspect(connection))


def tables(database: Database) -> set[str]:
    return set(inspected(database, lambda inspector: inspector.get_table_names())) - {"alembic_version"}


def differences(database: Database) -> list[Any]:
    with database.backend.write_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))


def shape(database: Database) -> dict[str, Any]:
    """Everything that can be seen of the tables."""

    def look(inspector: Any) -> dict[str, Any]:
        return {
            table: [
                [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)],
                inspector.get_pk_constraint(table),
                sorted(inspector.get_foreign_keys(table), key=str),
                sorted(map(_index, inspector.get_indexes(table)), key=str),
                inspector.get_table_options(table),
            ]
            for table in sorted(inspector.get_table_names())
        }

    return dict(inspected(database, look))


def stored_how(database: Database) -> dict[str, str]:
    """How Postgres stores the columns of completions: `e` is as they are."""
    query = sa.text("SELECT attname, attstorage::text FROM pg_attribute WHERE attrelid = 'completion'::regclass")
    with database.reading() as connection:
        return {row.attname: row.attstorage for row in connection.execute(query)}


def _index(index: dict[str, Any]) -> dict[str, Any]:
    """Which rows an index of some rows is about, as text; SQLite's comes as an object that equals nothing else."""
    return {**index, "dialect_options": {name: str(value) for name, value in index.get("dialect_options", {}).items()}}


def test_up_makes_every_table_of_the_models(fresh: Database) -> None:
    migrations.migrate(fresh)

    assert tables(fresh) == set(metadata.tables)


def test_the_tables_equal_the_models(fresh: Database) -> None:
    migrations.migrate(fresh)

    assert differences(fresh) == []


def test_the_comparison_with_the_models_sees_a_difference(fresh: Database) -> None:
    migrations.migrate(fresh)
    with fresh.writing() as connection:
        connection.execute(sa.text("DROP INDEX ix_token_digest"))

    assert len(differences(fresh)) == 1


def test_the_migrations_make_just_what_the_models_would_make(
    fresh: Database, tmp_path: Path, postgres_urls: dict[str, str]
) -> None:
    migrations.migrate(fresh)
    migrated, stored = shape(fresh), stored_how(fresh) if fresh.kind == "postgresql" else {}
    with fresh.writing() as connection:
        for table in reversed(metadata.sorted_tables):
            table.drop(connection)
        metadata.create_all(connection)

    assert shape(fresh) == migrated
    if fresh.kind == "postgresql":
        assert stored_how(fresh) == stored
        assert {stored[name] for name in ("request", "response", "stacktrace")} == {"e"}


def test_columns_are_null_where_the_models_say_so(fresh: Database) -> None:
    migrations.migrate(fresh)

    nullable = {
        (table, column["name"]): column["nullable"]
        for table in tables(fresh)
        for column in of_table(fresh, table, "get_columns")
    }

    assert nullable == {
        (table.name, column.name): column.nullable for table in metadata.sorted_tables for column in table.c
    }


def test_keys_sort_by_code_point(fresh: Database) -> None:
    migrations.migrate(fresh)
    keyed = {
        (table.name, name)
        for table in metadata.sorted_tables
        for names in [
            [column.name for column in table.primary_key],
            *[[column.name for column in index.columns] for index in table.indexes],
        ]
        for name in names
        if isinstance(table.c[name].type, sa.Text)
    }

    if fresh.kind == "postgresql":
        ask = "SELECT table_name, column_name FROM information_schema.columns WHERE collation_name = 'C'"
        with fresh.reading() as connection:
            assert keyed <= {(table, column) for table, column in connection.execute(sa.text(ask))}
    else:
        with fresh.reading() as connection:
            made = connection.execute(sa.text("SELECT group_concat(sql) FROM sqlite_master")).scalar()
        assert "COLLATE" not in str(made)  # SQLite compares bytes by itself


def test_sqlite_stores_tables_of_links_once(fresh: Database) -> None:
    if fresh.kind == "postgresql":
        return
    migrations.migrate(fresh)

    with fresh.reading() as connection:
        made = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'"))
        without = set(made.scalars())

    expected = {
        table.name for table in metadata.sorted_tables if table.dialect_options["sqlite"]["with_rowid"] is False
    }
    assert without == expected
    assert "ungraded" in without


def test_every_owned_table_begins_its_keys_with_the_organization(fresh: Database) -> None:
    migrations.migrate(fresh)

    for table in tables(fresh) - {"organization"}:
        key = of_table(fresh, table, "get_pk_constraint")["constrained_columns"]
        foreign = of_table(fresh, table, "get_foreign_keys")

        assert key[0] == "organization_id", table
        assert foreign, table
        assert all(link["constrained_columns"][0] == "organization_id" for link in foreign), table


def test_down_to_base_leaves_no_table(fresh: Database) -> None:
    migrations.migrate(fresh)

    migrations.downgrade(fresh, "base")

    assert tables(fresh) == set()
    with fresh.reading() as connection:
        assert migrations.current(connection) is None


def test_up_after_down_is_as_the_first_time(fresh: Database) -> None:
    migrations.migrate(fresh)
    first = shape(fresh)
    migrations.downgrade(fresh, "base")

    migrations.migrate(fresh)

    assert shape(fresh) == first


def test_each_single_step_goes_down_and_up_again(fresh: Database) -> None:
    migrations.migrate(fresh)
    whole = shape(fresh)
    with fresh.reading() as connection:
        steps = len(list(Path(__file__).parents[2].glob("migrations/versions/*.py")))
        assert migrations.current(connection) == migrations.head()

    for _ in range(steps):
        migrations.downgrade(fresh, "-1")
    left = tables(fresh)
    for _ in range(steps):
        migrations.migrate(fresh, "+1")

    assert left == set()
    assert shape(fresh) == whole


def test_data_survives_a_migration_that_has_nothing_to_do(fresh: Database) -> None:
    migrations.migrate(fresh)
    with fresh.writing() as connection:
        kept = organizations.create(connection, fresh.clock, "kept", "kept")

    migrations.migrate(fresh)

    with fresh.reading() as connection:
        assert organizations.get(connection, "kept") == kept


def test_pairs_of_common_tags_are_made_for_what_was_there(fresh: Database) -> None:
    """1001 completions have the tags 1 to 3 (the last of them only 2 and 3), one has 30 more, and 4 is rare."""
    migrations.migrate(fresh, "0003")
    tags = {f"c{number}": {1, 2, 3} for number in range(1001)} | {"rare": {2, 4}, "last": {2, 3}, "crowd": {1, 2}}
    tags["crowd"] |= set(range(100, 130))
    every = sorted(set().union(*tags.values()))
    with fresh.writing() as connection:
        connection.execute(sa.text("INSERT INTO organization (id, slug, created_at) VALUES ('o', 'o', 0)"))
        connection.execute(
            sa.text(
                "INSERT INTO tag (organization_id, id, name_digest, name, created_at) VALUES ('o', :id, :n, :n, 0)"
            ),
            [{"id": tag_id, "n": str(tag_id)} for tag_id in every],
        )
        connection.execute(
            sa.text("INSERT INTO completion (organization_id, id, created_at) VALUES ('o', :id, 7)"),
            [{"id": completion_id} for completion_id in tags],
        )
        connection.execute(
            sa.text(
                "INSERT INTO completion_tag (organization_id, completion_id, tag_id, created_at)"
                " VALUES ('o', :id, :tag, 7)"
            ),
            [
                {"id": completion_id, "tag": tag}
                for completion_id, tags_of_completion in tags.items()
                for tag in tags_of_completion
            ],
        )

    migrations.migrate(fresh)

    with fresh.reading() as connection:
        common = set(connection.scalars(sa.text("SELECT id FROM tag WHERE is_common")))
        columns = "completion_id, first_tag_id, second_tag_id, organization_id, created_at"
        pairs = {tuple(row) for row in connection.execute(sa.text(f"SELECT {columns} FROM completion_tag_pair"))}
    assert common == {1, 2, 3}
    expected = {
        (completion_id, first, second)
        for completion_id in tags
        if completion_id != "crowd"
        for first, second in ((1, 2), (1, 3), (2, 3))
        if {first, second} <= tags[completion_id]
    }
    assert pairs == {(*pair, "o", 7) for pair in expected | {("crowd", 1, 0), ("crowd", 2, 0)}}


def test_down_from_filling_in_behind_leaves_no_task_half_filled(fresh: Database) -> None:
    """Without the notes all rows count: those that were still to come were lost, and old ones counted again."""
    migrations.migrate(fresh)
    with fresh.writing() as connection:
        for statement in (
            "INSERT INTO organization (id, slug, created_at) VALUES ('o', 'o', 0)",
            "INSERT INTO tag (organization_id, id, name_digest, name, created_at) VALUES ('o', 1, '1', '1', 0)",
            "INSERT INTO tag (organization_id, id, name_digest, name, created_at) VALUES ('o', 2, '2', '2', 0)",
            *(f"INSERT INTO completion (organization_id, id, created_at) VALUES ('o', 'c{n}', {n})" for n in range(4)),
            *(f"INSERT INTO completion_tag VALUES ('o', 'c{n}', {tag}, {n})" for n in range(3) for tag in (1, 2)),
            "INSERT INTO completion_tag VALUES ('o', 'c3', 1, 3)",
            "INSERT INTO feedback_task VALUES ('o', 't', 0, '', '', '{}', '[]', false, '')",
            "INSERT INTO feedback_task_tag VALUES ('o', 't', 1)",
            "INSERT INTO feedback_task_tag VALUES ('o', 't', 2)",
            "INSERT INTO feedback VALUES ('o', 'f', 0, 't', '{}', '', '', '', 'accepted', NULL, NULL, NULL)",
            "INSERT INTO feedback_completion VALUES ('o', 'f', 'c1', 0, 't')",
            "INSERT INTO ungraded VALUES ('o', 'c3', 't', 3)",  # of another selector
            "INSERT INTO ungraded_backfill VALUES ('o', 't', 3, 'c3')",
        ):
            connection.exec_driver_sql(statement)

    migrations.downgrade(fresh, "0004")

    with fresh.reading() as connection:
        ungraded = connection.exec_driver_sql("SELECT completion_id, task_id, created_at FROM ungraded").all()
    assert sorted(map(tuple, ungraded)) == [("c0", "t", 0), ("c2", "t", 2)]


def test_down_from_filling_in_pairs_leaves_no_tag_half_filled(fresh: Database) -> None:
    migrations.migrate(fresh)
    crowd = range(1, 26)
    with fresh.writing() as connection:
        for statement in (
            "INSERT INTO organization (id, slug, created_at) VALUES ('o', 'o', 0)",
            *(
                f"INSERT INTO tag VALUES ('o', {number}, '{number}', '{number}', 0, {str(number < 4).lower()})"
                for number in crowd
            ),
            *(f"INSERT INTO completion (organization_id, id, created_at) VALUES ('o', 'c{n}', {n})" for n in range(3)),
            *(f"INSERT INTO completion_tag VALUES ('o', 'c0', {tag}, 0)" for tag in (1, 2, 3, 4)),
            *(f"INSERT INTO completion_tag VALUES ('o', 'c1', {tag}, 1)" for tag in (1, 2)),
            *(f"INSERT INTO completion_tag VALUES ('o', 'c2', {tag}, 2)" for tag in crowd),
            "INSERT INTO completion_tag_pair VALUES ('o', 1, 3, 0, 'c0')",
            "INSERT INTO completion_tag_pair VALUES ('o', 1, 0, 2, 'c2')",
            "INSERT INTO completion_tag_pair VALUES ('o', 3, 0, 2, 'c2')",
            "INSERT INTO pair_backfill VALUES ('o', 2, 3, '')",
        ):
            connection.exec_driver_sql(statement)

    migrations.downgrade(fresh, "0013")

    with fresh.reading() as connection:
        pairs = connection.exec_driver_sql("SELECT first_tag_id, second_tag_id, completion_id FROM completion_tag_pair")
        stored = sorted(map(tuple, pairs))
    assert stored == [
        (1, 0, "c2"), (1, 2, "c0"), (1, 2, "c1"), (1, 3, "c0"), (2, 0, "c2"), (2, 3, "c0"), (3, 0, "c2"),
    ]  # fmt: skip


def test_feedback_and_tokens_from_before_there_were_authors_stay_and_lose_only_these_on_the_way_back(
    fresh: Database,
) -> None:
    migrations.migrate(fresh, "0007")
    with fresh.writing() as connection:
        for statement in (
            "INSERT INTO organization (id, slug, created_at) VALUES ('o', 'o', 0)",
            "INSERT INTO token (organization_id, id, digest, created_at) VALUES ('o', 't1', 'd1', 0)",
            "INSERT INTO feedback_task VALUES ('o', 't', 0, '', '', '{}', '[]', false, '')",
            "INSERT INTO feedback VALUES ('o', 'f', 7, 't', '{}', 'kept', '', '', 'proposed')",
        ):
            connection.exec_driver_sql(statement)
    migrations.migrate(fresh)
    with fresh.writing() as connection:
        old = connection.exec_driver_sql("SELECT author, author_id, author_kind FROM feedback").one()
        connection.exec_driver_sql("UPDATE feedback SET author = 'é', author_id = 't1', author_kind = 'program'")
        connection.exec_driver_sql("UPDATE token SET name = 'nightly'")

    migrations.downgrade(fresh, "0007")

    with fresh.reading() as connection:
        feedback = connection.exec_driver_sql("SELECT * FROM feedback").one()
        token = connection.exec_driver_sql("SELECT * FROM token").one()
    assert tuple(old) == (None, None, None)
    assert tuple(feedback) == ("o", "f", 7, "t", "{}", "kept", "", "", "proposed")
    assert tuple(token) == ("o", "t1", "d1", 0, None)


def test_lists_of_feedback_are_counted_for_what_was_there_and_survive_the_way_back(fresh: Database) -> None:
    """4500 feedback: every ninth is of the task `u`, and one is proposed. Ranges have 2000 rows, the newest fewer."""
    migrations.migrate(fresh, "0010")
    columns = (
        "organization_id, id, created_at, task_id, json_values, comment, completions_summary, content_digest, state"
    )
    with fresh.writing() as connection:
        connection.execute(sa.text("INSERT INTO organization (id, slug, created_at) VALUES ('o', 'o', 0)"))
        for task_id in ("t", "u"):
            connection.execute(
                sa.text("INSERT INTO feedback_task VALUES ('o', :id, 0, '', '', '{}', '[]', false, '')"),
                {"id": task_id},
            )
        connection.execute(
            sa.text(f"INSERT INTO feedback ({columns}) VALUES ('o', :id, :at, :task, '{{}}', '', '', '', :state)"),
            [
                {
                    "id": f"{number:04d}",
                    "at": number // 2,  # two have the same time
                    "task": "t" if number % 9 else "u",
                    "state": "accepted" if number != 7 else "proposed",
                }
                for number in range(4500)
            ],
        )
    before = shape(fresh)

    migrations.migrate(fresh, "0011")

    oldest = (1 - 2**63, "")
    with fresh.reading() as connection:
        ranges = connection.exec_driver_sql(
            "SELECT list_name, created_at, id, length FROM list_range ORDER BY list_name, created_at"
        ).all()
    assert [tuple(row) for row in ranges] == [
        ("feedback:accepted", *oldest, 2000),
        ("feedback:accepted", 1000, "2001", 2000),
        ("feedback:accepted", 2000, "4001", 499),
        ("feedback:accepted:t", *oldest, 2000),
        ("feedback:accepted:t", 1126, "2252", 1999),
        ("feedback:accepted:u", *oldest, 500),
        ("feedback:proposed", *oldest, 1),
        ("feedback:proposed:t", *oldest, 1),
    ]

    migrations.downgrade(fresh, "0010")

    with fresh.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM feedback").scalar() == 4500
    assert shape(fresh) == before


def test_sessions_that_only_completions_name_are_stored_on_the_way_back(fresh: Database) -> None:
    migrations.migrate(fresh)
    with fresh.writing() as connection:
        for statement in (
            "INSERT INTO organization (id, slug, created_at) VALUES ('o', 'o', 0)",
            "INSERT INTO session (organization_id, id, created_at) VALUES ('o', 'stored', 1)",
            *(
                f"INSERT INTO completion (organization_id, id, created_at, session_id) VALUES ('o', 'c{at}', {at}, {name})"
                for at, name in ((5, "'stored'"), (7, "'named'"), (6, "'named'"), (8, "NULL"))
            ),
        ):
            connection.execute(sa.text(statement))

    migrations.downgrade(fresh, "0011")

    with fresh.reading() as connection:
        rows = connection.execute(sa.text("SELECT id, created_at FROM session ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [("named", 6), ("stored", 1)]
    names_no_session = "INSERT INTO completion (organization_id, id, created_at, session_id) VALUES ('o', 'x', 9, 'no')"
    with pytest.raises(sa.exc.IntegrityError), fresh.writing() as connection:
        connection.execute(sa.text(names_no_session))
    migrations.migrate(fresh)
    with fresh.writing() as connection:
        connection.execute(sa.text(names_no_session))


def test_references_are_checked_after_a_migration_and_not_at_every_start(tmp_path: Path) -> None:
    """The check reads the whole file: at a million completions each start took twenty seconds."""
    fresh = Database(f"sqlite:///{tmp_path}/fresh.db")
    migrations.migrate(fresh)
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as file:
        file.execute("INSERT INTO session (organization_id, id, created_at) VALUES ('none', 's', 0)")
        file.commit()

    migrations.migrate(fresh)

    with pytest.raises(WrongSchema, match="1 references"):
        migrations.downgrade(fresh, "-1")
    fresh.close()


def test_a_database_of_a_newer_program_is_refused_and_left_as_it_is(fresh: Database) -> None:
    migrations.migrate(fresh)
    with fresh.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(WrongSchema, match="9999"):
        migrations.migrate(fresh)
    with pytest.raises(WrongSchema):
        migrations.downgrade(fresh, "base")

    assert tables(fresh) == set(metadata.tables)


def test_a_revision_that_nobody_knows_is_refused(fresh: Database) -> None:
    migrations.migrate(fresh)

    with pytest.raises(WrongSchema):
        migrations.downgrade(fresh, "nobody-knows-this")


def test_an_unreachable_database_is_reported_as_unavailable() -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/log10")

    with pytest.raises(Unavailable):
        migrations.migrate(away)
    with pytest.raises(Unavailable):
        away.wait_until_reachable(0)
    away.close()


def test_a_file_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    nowhere = Database(f"sqlite:///{tmp_path}/no/such/folder/file.db")

    with pytest.raises(WrongSchema, match=r"file\.db"):
        migrations.migrate(nowhere)
    nowhere.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.db").write_bytes(b"this is no database at all" * 100)
    database = Database(f"sqlite:///{tmp_path}/file.db")

    with pytest.raises((WrongSchema, Unavailable, sa.exc.DatabaseError)):
        migrations.migrate(database)
    database.close()

    assert (tmp_path / "file.db").read_bytes().startswith(b"this is no database")


def test_the_file_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/file.db")

    migrations.migrate(database)
    database.close()

    assert (tmp_path / "file.db").stat().st_mode & 0o077 == 0


def test_programs_that_migrate_one_empty_database_at_once_all_succeed(
    url: str, fresh: Database, tmp_path: Path
) -> None:
    """They start together: opening the pipe waits until the test opens its other end."""
    pipe = tmp_path / "start"
    os.mkfifo(pipe)
    outputs = [tmp_path / f"output-{number}" for number in range(8)]
    environment = {**os.environ, "DATABASE_URL": url}
    programs = [ForkedProcess(["log10-server", "migrate"], environment, tmp_path, out, stdin=pipe) for out in outputs]

    with pipe.open("w"):
        codes = [program.wait(timeout=60) for program in programs]

    printed = [output.read_text() for output in outputs]
    assert codes == [0] * len(programs), printed
    assert all(migrations.head() in text for text in printed)
    assert differences(fresh) == []


def test_migrations_import_nothing_of_ours(checkout: Path) -> None:
    paths = sorted((checkout / "migrations" / "versions").glob("*.py"))

    named = {
        name
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert paths
    assert not [name for name in named if name.startswith((".", "log10_server"))]


def test_each_migration_goes_down_as_well_as_up(checkout: Path) -> None:
    for path in (checkout / "migrations" / "versions").glob("*.py"):
        functions = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}

        assert not isinstance(functions["upgrade"].body[0], ast.Pass), path.name
        assert not isinstance(functions["downgrade"].body[0], ast.Pass), path.name
