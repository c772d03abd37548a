"""Dockerfile and docker-compose.yml. No test here has a Docker: they read the two files and do what stands in them."""

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from tests.packaging.conftest import CHECKOUT, Serve, a_free_port

COMPOSE = CHECKOUT / "docker-compose.yml"
DOT_ENV = {"POSTGRES_PASSWORD": "a-password", "LOG10_SERVER_FIRST_TOKEN": "a-token-that-compose-was-given"}


@dataclass(frozen=True)
class Image:
    """How the last stage of a Dockerfile starts, checks and stops its program."""

    entrypoint: list[str]
    command: list[str]
    health_check: list[str]
    environment: dict[str, str]
    stop_signal: str
    user: str

    @classmethod
    def described_in(cls, dockerfile: Path) -> "Image":
        lines = [line for line in dockerfile.read_text().splitlines() if line and not line.startswith("#")]
        instructions: dict[str, str] = {}
        environment: dict[str, str] = {}
        for line in "\n".join(lines).replace("\\\n", " ").splitlines():
            word, rest = line.split(maxsplit=1)
            if word == "FROM":
                instructions, environment = {}, {}
            elif word == "ENV":
                environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            instructions[word] = rest
        return cls(
            entrypoint=json.loads(instructions["ENTRYPOINT"]),
            command=json.loads(instructions["CMD"]),
            health_check=json.loads(instructions["HEALTHCHECK"].split(" CMD ", 1)[1]),
            environment=environment,
            stop_signal=instructions["STOPSIGNAL"],
            user=instructions["USER"],
        )


def substituted(text: str, variables: Mapping[str, str]) -> str:
    """What compose makes of `${NAME:-default}` and `${NAME:?why it is needed}`."""

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if variables.get(name):
            return variables[name]
        if operator == ":?":
            raise LookupError(rest)
        return rest or ""

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


def services(variables: Mapping[str, str] = DOT_ENV) -> Any:
    return yaml.safe_load(substituted(COMPOSE.read_text(), variables))["services"]


@pytest.fixture
def image() -> Image:
    return Image.described_in(CHECKOUT / "Dockerfile")


@pytest.fixture
def container_environment(
    image: Image, plain_environment: dict[str, str], empty_postgres_url: str, free_port: str
) -> dict[str, str]:
    """What the server's container has, but for where it listens and which Postgres it finds."""
    in_image = {name: value for name, value in image.environment.items() if name != "PATH"}
    in_compose: dict[str, str] = services()["server"]["environment"]
    here = {
        "DATABASE_URL": empty_postgres_url,
        "LOG10_SERVER_HOST": "127.0.0.1",
        "LOG10_SERVER_PORT": free_port,
    }
    return plain_environment | in_image | in_compose | here


def start_line(image: Image) -> list[str]:
    server = services()["server"]
    return [*server.get("entrypoint", image.entrypoint), *server.get("command", image.command)]


def run_lines() -> list[list[str]]:
    """The arguments of each `docker compose run --rm server …` that the compose file tells its reader to type."""
    return [
        shlex.split(line) for line in re.findall(r"^# +docker compose run --rm server (.+)$", COMPOSE.read_text(), re.M)
    ]


def accepted(url: str, token: str) -> bool:
    answer = httpx.get(f"{url}/api/v1/feedback_task", headers={"X-Log10-Token": token}, trust_env=False)
    return answer.status_code == 200


def test_the_compose_file_fits_the_compose_schema() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("missing", sorted(DOT_ENV))
def test_without_its_secrets_compose_says_how_to_make_one(missing: str) -> None:
    with pytest.raises(LookupError, match=r"openssl rand -hex 24.*\.env"):
        services({**DOT_ENV, missing: ""})


def test_the_line_that_makes_the_env_file_names_every_secret() -> None:
    (line,) = re.findall(r"^# +(.+ > \.env\))$", COMPOSE.read_text(), re.M)

    assert sorted(re.findall(r"[A-Z][A-Z0-9_]+", line)) == sorted(DOT_ENV)


def test_the_server_is_told_of_the_database_that_compose_starts() -> None:
    started, server = services()["postgres"], services()["server"]

    url = urlsplit(server["environment"]["DATABASE_URL"])

    assert (url.hostname, url.path) == ("postgres", f"/{started['environment']['POSTGRES_DB']}")
    assert (url.username, url.password) == (
        started["environment"]["POSTGRES_USER"],
        started["environment"]["POSTGRES_PASSWORD"],
    )
    assert server["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_the_container_has_few_rights(image: Image) -> None:
    server = services()["server"]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.user), "by number, so that it is known not to be root"
    assert server["read_only"]
    assert server["cap_drop"] == ["ALL"]
    assert server["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])


def test_the_lines_of_image_and_compose_work(
    image: Image, container_environment: dict[str, str], serve: Serve, tmp_path: Path
) -> None:
    """One story: it starts, is healthy, takes the first token and a second one, and ends with 0 when told to stop."""
    served = serve(start_line(image), container_environment, tmp_path)
    served.wait_until_healthy()

    def run_beside(arguments: list[str]) -> str:
        ran = subprocess.run(
            [*image.entrypoint, *arguments],
            env=container_environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    checked = subprocess.run(image.health_check, env=container_environment, cwd=tmp_path, check=False)
    listing, issuing = run_lines()
    (organization,) = run_beside(listing).splitlines()
    second = run_beside([organization.split()[0] if word == "ORGANIZATION" else word for word in issuing]).strip()

    assert checked.returncode == 0
    assert accepted(served.url, DOT_ENV["LOG10_SERVER_FIRST_TOKEN"])
    assert accepted(served.url, second)
    assert not accepted(served.url, "another")
    assert DOT_ENV["LOG10_SERVER_FIRST_TOKEN"] not in served.output()
    assert services()["server"]["environment"]["LOG10_SERVER_PUBLIC_URL"] in served.output()
    assert served.stopped_by(signal.Signals[image.stop_signal]) == 0


def test_the_health_check_fails_while_nothing_listens(
    image: Image, container_environment: dict[str, str], tmp_path: Path
) -> None:
    checked = subprocess.run(
        image.health_check, env=container_environment, cwd=tmp_path, stderr=subprocess.DEVNULL, check=False
    )

    assert checked.returncode != 0


def test_several_servers_may_start_at_once_on_an_empty_database(
    image: Image, container_environment: dict[str, str], serve: Serve, tmp_path: Path
) -> None:
    environments = [container_environment | {"LOG10_SERVER_PORT": a_free_port()} for _ in range(3)]

    started = [serve(start_line(image), environment, tmp_path) for environment in environments]
    for served in started:
        served.wait_until_healthy()

    assert all(accepted(served.url, DOT_ENV["LOG10_SERVER_FIRST_TOKEN"]) for served in started)
    assert [served.stopped_by(signal.SIGTERM) for served in started] == [0, 0, 0]
