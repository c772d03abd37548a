"""Exports over HTTP: the same lines, in pieces, and never a part that looks whole."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from log10_server.db.database import Database
from log10_server.services import completions
from log10_server.services.completions import Entry
from log10_server.settings import Settings
from tests.conftest import Api, Organization, Served, new_organization, paths, problem, serve
from tests.fine_tuning_format import faults_of
from tests.moving import exported, fill, fresh, import_lines, in_tx, iter_export_lines
from tests.payload_corpus import CORPUS


def test_the_export_is_the_organizations_as_json_lines(
    api: Api, other_api: Api, database: Database, organization: Organization
) -> None:
    fill(database, organization.id)
    fill(database, other_api.organization.id, 60, seed=8)

    answer = api.get("/export")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "log10-export.jsonl" in answer.headers["content-disposition"]
    header, *lines = answer.content.splitlines(keepends=True)
    first_line = json.loads(header)
    assert first_line.pop("exported_at").endswith("+00:00")
    assert first_line == {"type": "header", "format": "log10-server", "version": 1, "organization_id": organization.id}
    assert lines == exported(database, organization.id)
    assert other_api.get("/export").content.splitlines(keepends=True)[1:] == exported(
        database, other_api.organization.id
    )


def test_an_organization_with_nothing_has_a_header_only(api: Api) -> None:
    assert api.get("/export").content.count(b"\n") == 1


def test_the_export_needs_a_token(serving: Served, database: Database) -> None:
    for path in ("/api/v1/export", "/api/v1/export/training?task_id=t"):
        problem(httpx.get(serving.url + path), 401, "unauthorized")


def test_what_is_logged_while_an_export_runs_is_left_out(database: Database, organization: Organization) -> None:
    fill(database, organization.id, 30)
    expected = exported(database, organization.id)
    lines = iter_export_lines(database, organization.id)
    next(lines)
    with in_tx(database, organization.id) as tx:
        completions.record(tx, [Entry("late", {})])

    assert list(lines) == expected


# Training


def example(api: Api, completion_id: str, grade: int, **fields: object) -> None:
    api.completion(
        id=completion_id,
        request={"messages": [{"role": "user", "content": "a"}]},
        response={"choices": [{"message": {"role": "assistant", "content": completion_id}}]},
    )
    api.upload("t", completion_ids=[completion_id], json_values={"grade": grade, "tone of voice": "rude"}, **fields)


def test_training_rows_are_chosen_by_task_and_filter(api: Api) -> None:
    api.task([], id="t")
    example(api, "good", 5)
    example(api, "bad", 2)
    example(api, "proposed", 5, state="proposed")

    answer = api.get("/export/training", params={"task_id": "t", "filter": 'grade >= 4 and "tone of voice" = "rude"'})

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.json() == {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "good"}]}
    assert api.get("/export/training?task_id=t").content.count(b"\n") == 2


def test_an_unknown_task_has_no_rows_and_neither_has_anothers(api: Api, other_api: Api) -> None:
    api.task([], id="t")
    example(api, "good", 5)

    assert other_api.get("/export/training?task_id=t").content == b""
    assert api.get("/export/training?task_id=unknown").content == b""


def log_corpus(database: Database, organization: Organization) -> None:
    """Store the corpus of payloads, each with accepted feedback of the task `t`."""
    lines = [{"type": "feedback_task", "id": "t", "name": "T", "json_schema": {}}]
    for number, case in enumerate(CORPUS):
        about = {"id": f"c-{number}", "created_at": f"2024-03-01T00:00:00.{number:06}Z"}
        lines.append({"type": "completion", **about, "request": case.request, "response": case.response})
    ids = [f"c-{number}" for number in range(len(CORPUS))]
    lines.append({"type": "feedback", "id": "f", "task_id": "t", "json_values": {}, "matched_completion_ids": ids})
    import_lines(database, organization.id, "".join(json.dumps(line) + "\n" for line in lines).encode())


def test_every_training_row_is_in_openais_format(api: Api, database: Database, organization: Organization) -> None:
    """Providers' shapes came out as they were: OpenAI refused one row in nine, and Responses-API rows were missing."""
    log_corpus(database, organization)

    lines = api.get("/export/training?task_id=t").text.splitlines()

    assert len(lines) == sum(case.reason is None for case in CORPUS)
    assert {line: faults for line in lines if (faults := faults_of(line))} == {}


def test_the_summary_counts_what_was_left_out_by_reason(
    api: Api, database: Database, organization: Organization
) -> None:
    log_corpus(database, organization)
    reasons = Counter(str(case.reason) for case in CORPUS if case.reason is not None)

    *rows, last = api.get("/export/training?task_id=t&summary=true").text.splitlines()

    assert rows == api.get("/export/training?task_id=t").text.splitlines()
    summary = json.loads(last)["summary"]
    assert summary.pop("rows_with_tools_left_out") > 0
    assert summary == {"rows": len(rows), "left_out": reasons.total(), "left_out_by_reason": reasons}


def test_a_summary_of_nothing_is_a_line_of_zeros(api: Api) -> None:
    answer = api.get("/export/training?task_id=unknown&summary=true")

    nothing = {"rows": 0, "left_out": 0, "left_out_by_reason": {}, "rows_with_tools_left_out": 0}
    assert answer.json() == {"summary": nothing}


def test_a_blank_or_false_summary_asks_for_none_and_any_other_word_is_refused(api: Api) -> None:
    for summary in ("", "None", "false"):
        assert api.get("/export/training", params={"task_id": "t", "summary": summary}).content == b""

    assert paths(api.get("/export/training?task_id=t&summary=maybe")) == ["/query/summary"]


def test_a_filter_that_can_not_be_read_says_where(api: Api) -> None:
    answer = api.get("/export/training", params={"task_id": "t", "filter": "grade >= and"})

    assert paths(answer, code="invalid") == ["/query/filter"]
    assert "at character 10" in answer.json()["detail"]


def test_training_needs_a_task(api: Api) -> None:
    assert paths(api.get("/export/training")) == ["/query/task_id"]


# Streams


@contextmanager
def serving_much(database: Database) -> Iterator[tuple[Served, Organization]]:
    """A server with more data than the buffers of a connection hold."""
    organization = new_organization(database)
    with in_tx(database, organization.id) as tx:
        large = '{"a":"' + "x" * 2_000_000 + '"}'
        for number in range(30):
            completions.record(tx, [Entry(f"c-{number}", {"request": large})])
    served = serve(database, Settings())
    yield next(served), organization
    next(served, None)


def cut_off_postgres(url: str, database: Database) -> None:
    name = str(database.url.database)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


@pytest.mark.parametrize("kind", ["sqlite", "postgres18"])
def test_when_the_database_fails_on_the_way_the_stream_breaks(
    kind: str, postgres_urls: dict[str, str], tmp_path: Path
) -> None:
    """A client that got a good end would take a part for the whole."""
    with fresh(postgres_urls, kind, tmp_path) as database, serving_much(database) as (served, organization):
        headers = {"X-Log10-Token": organization.token}
        with httpx.stream("GET", f"{served.url}/api/v1/export", headers=headers, timeout=30) as answer:
            assert answer.status_code == 200
            received = answer.iter_raw(65536)
            next(received)
            if kind == "sqlite":
                with in_tx(database, organization.id) as tx:
                    tx.connection.exec_driver_sql("ALTER TABLE feedback RENAME TO gone")
            else:
                cut_off_postgres(postgres_urls[kind], database)

            with pytest.raises(httpx.RemoteProtocolError):
                for _ in received:
                    pass
        if kind == "sqlite":
            with in_tx(database, organization.id) as tx:
                tx.connection.exec_driver_sql("ALTER TABLE gone RENAME TO feedback")
        else:
            problem(httpx.get(f"{served.url}/api/v1/export", headers=headers, timeout=30), 503, "database_unavailable")


def test_a_client_that_goes_away_leaves_the_server_well(tmp_path: Path, postgres_urls: dict[str, str]) -> None:
    with fresh(postgres_urls, "sqlite", tmp_path) as database, serving_much(database) as (served, organization):
        headers = {"X-Log10-Token": organization.token}
        for _ in range(3):
            with httpx.stream("GET", f"{served.url}/api/v1/export", headers=headers) as answer:
                next(answer.iter_raw(65536))

        whole = httpx.get(f"{served.url}/api/v1/export", headers=headers, timeout=30)

    assert len(whole.content) > 60_000_000


def test_memory_stays_flat_however_much_is_exported(tmp_path: Path, postgres_urls: dict[str, str]) -> None:
    with fresh(postgres_urls, "sqlite", tmp_path) as database:
        organization = new_organization(database)
        request = '{"a":"' + "x" * 1500 + '"}'
        for start in range(0, 20_000, 1000):
            rows = (f'{{"type":"completion","id":"c-{n}","request":{request}}}\n' for n in range(start, start + 1000))
            import_lines(database, organization.id, "".join(rows).encode())
        next(iter_export_lines(database, organization.id))

        tracemalloc.start()
        size = sum(len(line) for line in iter_export_lines(database, organization.id))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert size > 30_000_000
    assert peak < 15_000_000
