"""The commands beside `serve`: organizations, tokens, migrations, the document, help, and settings that can't be."""

import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from log10_server.settings import Setting, described
from tests.cli.conftest import Quickly, is_refused, output_of
from tests.running import Program, Served

COMMANDS = [
    "",
    "serve",
    "migrate",
    "organization",
    "organization create",
    "organization list",
    "token",
    "token issue",
    "token list",
    "token revoke",
    "openapi",
]


def status_of_a_call(served: Served, token: str) -> int:
    return httpx.get(f"{served.url}/api/v1/sessions/x", headers={"X-Log10-Token": token}, trust_env=False).status_code


# Help and the document


def test_every_command_explains_itself_and_touches_nothing(on_sqlite: Program, quickly: Quickly) -> None:
    helps = [quickly(*command.split(), "--help").stdout for command in COMMANDS]

    for command, text in zip(COMMANDS, helps, strict=True):
        usage, *rest = text.splitlines()
        assert usage.startswith(f"Usage: log10-server {command}".strip())
        assert len([line for line in rest if line.strip()]) > 2
    assert list(on_sqlite.folder.iterdir()) == []


def test_the_list_of_commands_above_is_all_that_help_names(on_sqlite: Program, quickly: Quickly) -> None:
    def named(help_text: str) -> set[str]:
        return set(re.findall(r"^  ([a-z]\S*)", help_text.partition("Commands:")[2], re.M))

    groups = {command.split()[0] for command in COMMANDS if " " in command}
    top = named(on_sqlite.output_of("--help"))

    assert {command for command in COMMANDS if command and " " not in command} <= top
    for group in groups:
        below = {f"{group} {name}" for name in named(quickly(group, "--help").stdout)}
        assert below == {command for command in COMMANDS if command.startswith(f"{group} ")}


def test_openapi_prints_the_document_and_touches_no_database(on_sqlite: Program) -> None:
    printed = on_sqlite.output_of("openapi", DATABASE_URL="postgresql://nobody:s3cret@127.0.0.1:1/none")

    document = json.loads(printed)
    assert document["openapi"].startswith("3.")
    assert "/api/v1/completions" in document["paths"]
    assert list(on_sqlite.folder.iterdir()) == []


def test_an_unknown_command_is_refused_without_a_traceback(on_sqlite: Program) -> None:
    ran = on_sqlite.run("server")

    assert ran.returncode == 2
    assert "No such command 'server'" in ran.stderr


# Settings that can't be


def numbers() -> list[Any]:
    cases = []
    for setting, default in described():
        if isinstance(default, bool):
            cases.append(pytest.param(setting.variable, "maybe", id=setting.variable))
        elif isinstance(default, int):
            too_low, too_high = str(setting.minimum - 1), str(setting.maximum + 1)
            cases += [
                pytest.param(setting.variable, value, id=f"{setting.variable}={value}") for value in (too_low, too_high)
            ]
    return cases


def test_every_number_out_of_range_is_one_line_that_names_it_and_its_range(
    on_sqlite: Program, quickly: Quickly
) -> None:
    by_variable: dict[str, Setting] = {setting.variable: setting for setting, _ in described()}
    wrong = [case.values for case in numbers()]
    wrong += [("LOG10_SERVER_PORT", value) for value in ("eighty", "8e3", "٨٠٠٠", "80 00", "9" * 5000)]

    for variable, value in wrong:
        ran = quickly("migrate", **{variable: value})

        is_refused(ran, variable)
        if value != "maybe":
            assert f"{by_variable[variable].minimum} to {by_variable[variable].maximum}" in ran.stderr
    assert len(wrong) > 40
    assert list(on_sqlite.folder.iterdir()) == []


def test_serve_itself_refuses_a_number_out_of_range(on_sqlite: Program) -> None:
    is_refused(on_sqlite.run("serve", LOG10_SERVER_MAX_NESTING="100000"), "LOG10_SERVER_MAX_NESTING", "8 to 200")


def test_a_blank_setting_is_none(quickly: Quickly) -> None:
    output_of(quickly("migrate", LOG10_SERVER_READERS="", LOG10_SERVER_ACCESS_LOG=" ", LOG10_SERVER_PUBLIC_URL=""))


def test_a_port_out_of_range_on_the_command_line_is_refused(on_sqlite: Program) -> None:
    ran = on_sqlite.run("serve", "--port", "65536")

    assert ran.returncode == 2
    assert "--port" in ran.stderr
    assert "Traceback" not in ran.stderr


# Organizations


def test_organizations_keep_the_id_and_slug_that_they_are_given(quickly_on_both: Quickly) -> None:
    printed = output_of(quickly_on_both("organization", "create", "--id", "org-1", "--slug", "the-first"))
    output_of(quickly_on_both("organization", "create", "--id", "org-2"))
    made = output_of(quickly_on_both("organization", "create", "--slug", "third"))

    listed = [line.split()[:2] for line in output_of(quickly_on_both("organization", "list")).splitlines()]
    assert printed == "org-1"
    assert listed == [["org-1", "the-first"], ["org-2", "org-2"], [made, "third"]]


def test_an_organization_with_a_taken_id_or_slug_is_refused(quickly_on_both: Quickly) -> None:
    output_of(quickly_on_both("organization", "create", "--id", "org-1", "--slug", "first"))

    is_refused(quickly_on_both("organization", "create", "--id", "org-1", "--slug", "other"), "org-1", "already")
    is_refused(quickly_on_both("organization", "create", "--id", "other", "--slug", "first"), "first", "already")
    is_refused(quickly_on_both("organization", "create", "--id", "first"), "first", "already")
    assert len(output_of(quickly_on_both("organization", "list")).splitlines()) == 1


@pytest.mark.parametrize("option", ["--id", "--slug"])
def test_a_name_that_can_not_travel_in_a_header_is_refused(quickly: Quickly, option: str) -> None:
    for name in ("two words", "None", "a/b", "zürich", "x" * 256, " ", "..", "tab\t"):
        is_refused(quickly("organization", "create", option, name), option.strip("-"))


def test_a_server_started_beside_organizations_makes_no_other(on_sqlite: Program) -> None:
    on_sqlite.output_of("organization", "create", "--id", "mine")

    served = on_sqlite.serve()

    assert served.exported() == {}
    assert len(on_sqlite.output_of("organization", "list").splitlines()) == 1
    (command,) = re.findall(r"log10-server (token issue \S+)", served.output())
    assert status_of_a_call(served, on_sqlite.output_of(*command.split())) == 404


# Tokens


def test_before_the_first_organization_issuing_a_token_says_what_to_do(quickly_on_both: Quickly) -> None:
    output_of(quickly_on_both("migrate"))

    is_refused(quickly_on_both("token", "issue"), "no organization yet", "log10-server organization create")
    is_refused(quickly_on_both("token", "issue", "acme"), "'acme'", "log10-server organization create")


def test_a_command_before_the_first_start_leaves_the_first_start_its_three_lines(on_sqlite: Program) -> None:
    on_sqlite.run("token", "issue")
    on_sqlite.run("organization", "list")

    assert len(on_sqlite.serve().exported()) == 3


def test_an_issued_token_begins_with_the_prefix_and_has_256_random_bits(quickly: Quickly) -> None:
    """No token begins with `-`, which a command line takes for an option, and secret scanners know the pattern."""
    output_of(quickly("organization", "create", "--id", "mine"))

    tokens = {output_of(quickly("token", "issue")) for _ in range(5)}

    assert len(tokens) == 5
    for issued in tokens:
        assert re.fullmatch(r"log10_[A-Za-z0-9_-]{43}", issued)


def test_a_token_is_the_only_line_on_stdout_and_works(program: Program) -> None:
    served = program.serve()
    organization_id = served.exported()["LOG10_ORG_ID"]

    by_id, by_slug = (
        program.output_of("token", "issue", organization_id),
        program.output_of("token", "issue", "default"),
    )

    assert len({by_id, by_slug, served.exported()["LOG10_TOKEN"]}) == 3
    assert status_of_a_call(served, by_id) == 404
    assert status_of_a_call(served, by_slug) == 404


def test_with_several_organizations_one_must_be_named(quickly: Quickly) -> None:
    output_of(quickly("organization", "create", "--id", "one"))
    output_of(quickly("organization", "create", "--id", "two"))

    is_refused(quickly("token", "issue"), "organization list", "log10-server.db")
    is_refused(quickly("token", "list"), "organization list", "log10-server.db")
    is_refused(quickly("token", "issue", "three"), "three", "log10-server.db")
    assert output_of(quickly("token", "issue", "two"))


def test_only_a_digest_of_a_token_is_stored(on_sqlite: Program) -> None:
    served = on_sqlite.serve()
    tokens = [served.exported()["LOG10_TOKEN"], on_sqlite.output_of("token", "issue"), "a-token-from-before"]
    on_sqlite.output_of("token", "issue", "--value-from-stdin", stdin=f"{tokens[2]}\n")
    assert [status_of_a_call(served, token) for token in tokens] == [404, 404, 404]
    served.stopped_by(signal.SIGTERM)

    stored = b"".join(file.read_bytes() for file in on_sqlite.folder.glob("log10-server.db*"))

    assert served.exported()["LOG10_ORG_ID"].encode() in stored
    assert [token for token in tokens if token.encode() in stored] == []


def test_only_a_digest_of_a_token_is_stored_in_postgres(on_postgres: Program) -> None:
    on_postgres.output_of("organization", "create", "--id", "mine")
    token = on_postgres.output_of("token", "issue")

    with psycopg.connect(on_postgres.environment["DATABASE_URL"]) as connection:
        stored = connection.execute("SELECT string_agg(token::text, ' ') FROM token").fetchone()

    assert stored is not None
    assert "mine" in stored[0]
    assert token not in stored[0]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_token_that_programs_have_already_is_kept(on_sqlite: Program, ending: str) -> None:
    on_sqlite.output_of("organization", "create", "--id", "mine")

    ran = on_sqlite.run("token", "issue", "mine", "--value-from-stdin", stdin=f"lg10_Some=token.{ending}")

    assert "lg10_Some=token." not in ran.stdout + ran.stderr
    assert status_of_a_call(on_sqlite.serve(), "lg10_Some=token.") == 404


@pytest.mark.parametrize("value", ["", "short", " leading-blank", "with\ttab-in-it", "schlüssel-mit-umlaut"])
def test_a_token_that_can_not_travel_in_a_header_is_refused_and_not_shown(quickly: Quickly, value: str) -> None:
    output_of(quickly("organization", "create", "--id", "mine"))

    ran = quickly("token", "issue", "--value-from-stdin", stdin=value)

    is_refused(ran, "token")
    assert not value or value not in ran.stderr
    assert output_of(quickly("token", "list")) == ""


def test_a_token_is_of_one_organization_only(quickly: Quickly) -> None:
    output_of(quickly("organization", "create", "--id", "one"))
    output_of(quickly("organization", "create", "--id", "two"))
    output_of(quickly("token", "issue", "one", "--value-from-stdin", stdin="the-same-token"))

    ran = quickly("token", "issue", "two", "--value-from-stdin", stdin="the-same-token")

    is_refused(ran, "issued before")
    assert "the-same-token" not in ran.stderr


def test_the_list_of_tokens_shows_which_are_good_and_no_value(quickly_on_both: Quickly) -> None:
    output_of(quickly_on_both("organization", "create", "--id", "mine"))
    values = [output_of(quickly_on_both("token", "issue")), output_of(quickly_on_both("token", "issue"))]
    first, second = [line.split()[0] for line in output_of(quickly_on_both("token", "list", "mine")).splitlines()]

    output_of(quickly_on_both("token", "revoke", first))

    listed = output_of(quickly_on_both("token", "list"))
    assert [line.split()[0] for line in listed.splitlines()] == [first, second]
    assert ["revoked" in line for line in listed.splitlines()] == [True, False]
    assert all(value not in listed for value in values)


def test_a_running_server_refuses_a_revoked_token_within_a_second(program: Program) -> None:
    served = program.serve()
    token = program.output_of("token", "issue")
    token_id = program.output_of("token", "list").splitlines()[-1].split()[0]
    assert status_of_a_call(served, token) == 404

    program.output_of("token", "revoke", token_id)
    revoked_at = time.monotonic()

    while status_of_a_call(served, token) != 401:
        assert time.monotonic() - revoked_at < 3, "three times what is promised"
        time.sleep(0.02)
    assert status_of_a_call(served, served.exported()["LOG10_TOKEN"]) == 404


def test_a_running_server_takes_a_new_token_at_once_even_one_it_has_refused(program: Program) -> None:
    served = program.serve()
    assert status_of_a_call(served, "a-token-to-come") == 401

    program.output_of("token", "issue", "--value-from-stdin", stdin="a-token-to-come")

    assert status_of_a_call(served, "a-token-to-come") == 404


def test_revoking_what_is_no_good_token_is_refused(quickly: Quickly) -> None:
    output_of(quickly("organization", "create", "--id", "mine"))
    output_of(quickly("token", "issue"))
    token_id = output_of(quickly("token", "list")).split()[0]
    output_of(quickly("token", "revoke", token_id))

    is_refused(quickly("token", "revoke", token_id), token_id)
    is_refused(quickly("token", "revoke", "nothing"), "nothing")


# Migrations


def test_migrate_says_the_schema_and_may_be_repeated(quickly_on_both: Quickly) -> None:
    assert output_of(quickly_on_both("migrate")) == output_of(quickly_on_both("migrate"))
    assert re.search(r"has the schema \d+", output_of(quickly_on_both("migrate")))


def test_migrating_down_to_base_empties_the_database_and_up_again_serves(program: Program) -> None:
    program.serve().stopped_by(signal.SIGTERM)

    assert "base" in program.output_of("migrate", "--down-to", "base")
    assert len(program.serve().exported()) == 3


@pytest.mark.parametrize("revision", ["nonsense", "+1", "-99", "head"])
def test_a_revision_that_is_no_way_down_is_one_clear_line(quickly: Quickly, revision: str) -> None:
    before = output_of(quickly("migrate"))

    ran = quickly("migrate", "--down-to", revision)

    assert "Traceback" not in ran.stderr
    assert ran.returncode != 0 or ran.stdout.strip() == before
    assert output_of(quickly("migrate")) == before


@pytest.mark.parametrize(
    "command", ["migrate", "organization create", "organization list", "token issue", "token list", "token revoke x"]
)
def test_every_command_reports_an_unreachable_database_in_one_line(quickly: Quickly, command: str) -> None:
    ran = quickly(*command.split(), DATABASE_URL="postgresql://me:s3cret@127.0.0.1:1/log10")

    is_refused(ran, "database", "log10 on 127.0.0.1:1")
    assert "s3cret" not in ran.stderr


def test_a_token_can_have_a_name_which_the_list_shows(program: Program) -> None:
    program.run("organization", "create", "--id", "o")

    issued = program.run("token", "issue", "o", "--name", "nightly grader")
    again = program.run("token", "issue", "o", "--name", "nightly grader")
    blank = program.run("token", "issue", "o", "--name", " ")

    assert issued.returncode == 0, issued.stderr
    assert "nightly grader" in program.run("token", "list", "o").stdout
    assert again.returncode != 0
    assert "nightly grader" in again.stderr
    assert blank.returncode != 0


_WAITING = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def test_two_commands_at_once_do_not_give_one_name_to_two_tokens(on_postgres: Program) -> None:
    """Each of them looked for the name before the other one had stored its token."""
    on_postgres.output_of("organization", "create", "--id", "o")

    with psycopg.connect(on_postgres.environment["DATABASE_URL"]) as connection, ThreadPoolExecutor() as threads:
        # While this lock is held, a transaction can read the tokens, and waits when it adds one.
        connection.execute("LOCK TABLE token IN SHARE MODE")
        commands = [
            threads.submit(on_postgres.run, "token", "issue", "o", "--name", "nightly grader") for _ in range(2)
        ]
        while connection.execute(_WAITING).fetchone() != (2,) and not any(command.done() for command in commands):
            time.sleep(0.05)
        connection.rollback()
        issued, refused = sorted((command.result() for command in commands), key=lambda ran: ran.returncode)

    assert issued.returncode == 0, issued.stderr
    is_refused(refused, "nightly grader")
    assert len(output_of(on_postgres.run("token", "list", "o")).splitlines()) == 1
