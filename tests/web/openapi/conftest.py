"""The OpenAPI document, as the app makes it."""

from typing import Any

import pytest

from log10_server.db.database import Database
from log10_server.settings import Settings
from log10_server.web.app import create_app


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    return dict(create_app(Settings(), Database("sqlite:///never-opened.db")).openapi())
