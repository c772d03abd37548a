"""The pages /docs and /redoc: what is served, and how a real browser shows it."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from log10_server.db.database import Database
from tests.browser import Browser, find_chromium
from tests.conftest import Served, problem


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is not installed; .ci/run installs it")
        pytest.skip("Chromium is not installed (apt install chromium)")
    browser = Browser(program, Path(tmp_path_factory.mktemp("profile")))
    for domain in ("Page", "Network", "Log", "Runtime"):
        browser.send(f"{domain}.enable")
    yield browser
    browser.close()


def problems_in(events: list[dict[str, Any]], server: str) -> list[str]:
    """What the browser's console shows as wrong, and every request to another host."""
    problems: list[str] = []
    for event in events:
        parameters = event["params"]
        match event["method"]:
            case "Log.entryAdded" if parameters["entry"]["level"] in {"error", "warning"}:
                problems.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
            case "Runtime.exceptionThrown":
                problems.append(str(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in {"error", "assert"}:
                problems.append(str(parameters["args"]))
            case "Network.requestWillBeSent":
                url = urlsplit(parameters["request"]["url"])
                if url.scheme not in {"data", "blob"} and url.netloc != urlsplit(server).netloc:
                    problems.append(f"request to {parameters['request']['url']}")
    return problems


@pytest.mark.parametrize(
    ("page", "last_element"), [("/docs", ".opblock-tag"), ("/redoc", "a[href='https://redocly.com/redoc/'] img")]
)
def test_a_page_shows_no_error_in_the_console_and_asks_no_other_host(
    serving: Served, database: Database, browser: Browser, page: str, last_element: str
) -> None:
    """ReDoc used to load its maker's logo from a CDN, which the content security policy blocks and the console reports."""
    browser.events.clear()

    browser.send("Page.navigate", url=serving.url + page)
    browser.wait_for(f'!!document.querySelector("{last_element}")')
    time.sleep(1)  # what the page loads after that element is requested by now
    browser.evaluate("1")  # receives the events until now

    assert any(event["method"] == "Network.requestWillBeSent" for event in browser.events)
    assert problems_in(browser.events, serving.url) == []


def test_the_icon_is_where_browsers_look_for_it(serving: Served, database: Database) -> None:
    answer = httpx.get(serving.url + "/favicon.ico")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG")


def test_redoc_names_no_host_that_it_would_load_from(serving: Served, database: Database) -> None:
    """When an update of ReDoc loads its logo from another address, this fails even where there is no Chromium."""
    assert b"://cdn." not in httpx.get(f"{serving.url}/docs/redoc.standalone.js").content


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_page_works_without_another_host(serving: Served, database: Database, page: str) -> None:
    answer = httpx.get(serving.url + page)
    named = re.findall(r'(?:src|href|spec-url)="([^"]+)"', answer.text)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "//" not in answer.text.replace("<!doctype html>", "")
    assert len(named) >= 3
    for name in named:
        asset = httpx.get(httpx.URL(serving.url + page).join(name))
        assert asset.status_code == 200, name
        assert len(asset.content) > 100


def test_the_page_that_starts_swagger_ui_reads_the_document_beside_it(serving: Served, database: Database) -> None:
    script = httpx.get(f"{serving.url}/docs/start.js")

    assert script.headers["content-type"].startswith("text/javascript")
    assert '"openapi.json"' in script.text
    assert "http" not in script.text


@pytest.mark.parametrize("name", ["nothing.js", "..%2fdocs.py", "%2e%2e/app.py", "redoc.standalone.js.map"])
def test_only_the_assets_are_served(serving: Served, database: Database, name: str) -> None:
    problem(httpx.get(f"{serving.url}/docs/{name}"), 404, "not_found")
