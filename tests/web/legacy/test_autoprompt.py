"""Autoprompt needs an LLM, and nothing here calls one (docs/api.md, "The calls of log10-io")."""

from typing import Any

import httpx
import pytest

from tests.conftest import Api, problem

NAMES = ["convert", "report", "suggestions"]


def path(api: Api, name: str) -> httpx.URL:
    return api.base_url.join(f"/api/experimental/autoprompt/{name}")


def test_autoprompt_answers_not_implemented(api: Api, subtests: pytest.Subtests) -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"json": {"prompt": "p"}},
        {"content": b"x", "headers": {"Content-Type": "text/plain"}},
    ]
    for sent in bodies:
        for name in NAMES:
            with subtests.test(sent=sent, name=name):
                body = problem(api.post(path(api, name), **sent), 501, "not_implemented")

                assert "LLM" in body["detail"]


def test_the_caller_is_authenticated_first(api: Api, other_api: Api, subtests: pytest.Subtests) -> None:
    for name in NAMES:
        with subtests.test(name=name):
            other = other_api.organization.id

            problem(httpx.post(path(api, name)), 401, "unauthorized")
            problem(api.post(path(api, name), params={"organization_id": other}), 403, "wrong_organization")
            problem(api.post(path(api, name), json={"organization_id": other}), 403, "wrong_organization")


def test_other_paths_and_methods_are_as_everywhere(api: Api) -> None:
    problem(api.post(path(api, "guess")), 404, "not_found")
    problem(api.get(path(api, "report")), 405, "method_not_allowed")
