"""Commands that only read: they create and migrate nothing, and print lists as text or as JSON."""

import json
import sqlite3
from pathlib import Path

import pytest

from log10_server.db import migrations
from tests.cli.conftest import Quickly, is_refused, output_of
from tests.running import Program

# Every command but `serve`, `migrate` and `organization create`.
NEED_A_DATABASE = ["organization list", "token list", "token issue", "token revoke x", "export", "import file.jsonl"]


@pytest.mark.parametrize("command", [*NEED_A_DATABASE, "migrate --down-to base"])
def test_a_command_that_needs_a_database_creates_none_and_names_the_file(
    on_sqlite: Program, quickly: Quickly, command: str
) -> None:
    (on_sqlite.folder / "file.jsonl").write_text("")

    ran = quickly(*command.split())

    is_refused(ran, "does not exist", str(on_sqlite.folder / "log10-server.db"), "log10-server serve")
    assert [file.name for file in on_sqlite.folder.iterdir()] == ["file.jsonl"]


def schema_of(file: Path) -> list[tuple[str]]:
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master UNION ALL SELECT version_num FROM alembic_version")
        schema = rows.fetchall()
    connection.close()
    return schema


@pytest.mark.parametrize("command", [*NEED_A_DATABASE, "organization create"])
def test_an_older_schema_is_left_as_it_is_and_the_error_says_what_to_do(
    on_sqlite: Program, quickly: Quickly, command: str
) -> None:
    """Servers of the older version may be running on it."""
    (on_sqlite.folder / "file.jsonl").write_text("")
    output_of(quickly("migrate"))
    output_of(quickly("migrate", "--down-to", "0006"))
    before = schema_of(on_sqlite.folder / "log10-server.db")

    ran = quickly(*command.split())

    is_refused(ran, "0006", migrations.head(), "`log10-server migrate`", "log10-server.db")
    assert schema_of(on_sqlite.folder / "log10-server.db") == before


@pytest.mark.parametrize("command", ["organization list", "token issue", "organization create"])
def test_the_schema_of_a_newer_program_is_refused_by_every_command(
    on_sqlite: Program, quickly: Quickly, command: str
) -> None:
    output_of(quickly("migrate"))
    with sqlite3.connect(on_sqlite.folder / "log10-server.db") as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.close()

    is_refused(quickly(*command.split()), "9999", "newer", "log10-server.db")


@pytest.mark.parametrize("command", ["organization list", "token issue acme", "export"])
def test_an_empty_database_stays_empty_and_the_error_says_so(quickly_on_both: Quickly, command: str) -> None:
    output_of(quickly_on_both("migrate"))
    output_of(quickly_on_both("migrate", "--down-to", "base"))

    is_refused(quickly_on_both(*command.split()), "empty", "`log10-server migrate`")
    assert output_of(quickly_on_both("migrate", "--down-to", "base")).endswith("base.")


def test_the_first_organization_can_be_created_where_there_is_no_database(quickly_on_both: Quickly) -> None:
    created = output_of(quickly_on_both("organization", "create"))

    assert output_of(quickly_on_both("organization", "list")).split()[0] == created


def test_an_error_about_postgres_names_the_database_and_no_password(quickly: Quickly) -> None:
    ran = quickly("organization", "list", DATABASE_URL="postgresql://me:s3cret@127.0.0.1:1/log10")

    is_refused(ran, "log10 on 127.0.0.1:1", "refused")
    assert "s3cret" not in ran.stderr


# Lists as JSON


def test_a_list_of_organizations_is_a_json_array(quickly_on_both: Quickly) -> None:
    output_of(quickly_on_both("migrate"))
    empty = json.loads(output_of(quickly_on_both("organization", "list", "--json")))
    output_of(quickly_on_both("organization", "create", "--id", "org-1", "--slug", "first"))
    output_of(quickly_on_both("organization", "create", "--id", "org-2"))

    listed = json.loads(output_of(quickly_on_both("organization", "list", "--json")))

    assert empty == []
    assert [sorted(row) for row in listed] == [["created_at_ms", "id", "slug"]] * 2
    assert [(row["id"], row["slug"]) for row in listed] == [("org-1", "first"), ("org-2", "org-2")]
    assert listed[0]["created_at_ms"] <= listed[1]["created_at_ms"]


def test_a_list_of_tokens_is_a_json_array_that_tells_when_each_was_revoked(quickly_on_both: Quickly) -> None:
    output_of(quickly_on_both("organization", "create", "--id", "mine"))
    values = [output_of(quickly_on_both("token", "issue")) for _ in range(2)]
    revoked, good = json.loads(output_of(quickly_on_both("token", "list", "--json")))
    output_of(quickly_on_both("token", "revoke", revoked["id"]))

    printed = output_of(quickly_on_both("token", "list", "mine", "--json"))

    listed = json.loads(printed)
    assert [row["id"] for row in listed] == [revoked["id"], good["id"]]
    assert {row["organization_id"] for row in listed} == {"mine"}
    assert listed[0]["revoked_at_ms"] >= listed[0]["created_at_ms"]
    assert listed[1]["revoked_at_ms"] is None
    assert all(value not in printed for value in values)
