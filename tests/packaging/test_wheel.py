"""The built wheel, installed in an environment of its own, far from the checkout."""

import email
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from log10_server import __version__
from tests.packaging.conftest import CHECKOUT, Serve


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return table


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(CHECKOUT)], check=True)
    (built,) = folder.glob("log10_server-*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with the wheel in it; what it depends on is lent by this environment.

    Lent by a line in a `.pth` file: that makes a folder importable but does not read the `.pth` files inside it,
    so the editable install of the checkout stays out of it, and nothing is downloaded.
    """
    home = tmp_path_factory.mktemp("away") / "venv"
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    made = sysconfig.get_paths("venv", {"base": str(home)})
    folder = Path(made["scripts"])
    install = [sys.executable, "-m", "pip", "--python", str(folder / "python"), "install", "--quiet", "--no-index"]
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(made["purelib"]) / "lent.pth").write_text("\n".join(lent))
    return folder


@pytest.fixture
def away(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "an empty folder"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(plain_environment: dict[str, str], programs: Path, free_port: str) -> dict[str, str]:
    path = os.pathsep.join([str(programs), plain_environment["PATH"]])
    return plain_environment | {"PATH": path, "LOG10_SERVER_PORT": free_port}


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_code_and_the_migrations_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}

    code = {f"log10_server/{name}" for name in files_below(CHECKOUT / "src" / "log10_server")}
    migrations = {f"log10_server/migrations/{name}" for name in files_below(CHECKOUT / "migrations")}
    assert held == code | migrations
    assert any(re.fullmatch(r"log10_server/migrations/versions/\w+\.py", name) for name in held)


def test_the_wheel_says_whose_it_is_and_under_which_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (metadata_name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(opened.read(metadata_name))
        licence = opened.read(metadata_name.replace("METADATA", "licenses/LICENSE"))

    assert metadata["Version"] == __version__
    assert metadata["Author"] == "The log10-server authors"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert licence == (CHECKOUT / "LICENSE").read_bytes()
    assert licence.lstrip().startswith(b"Apache License\n")
    assert metadata.get_all("Project-URL") == [f"{label}, {url}" for label, url in project()["urls"].items()]


def test_the_files_that_the_image_copies_are_enough_to_build_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """The first stage of the Dockerfile has only the files that it copies and that .dockerignore lets through."""
    dockerfile = (CHECKOUT / "Dockerfile").read_text()
    copied = [name for names in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.M) for name in names.split()]
    assert {f"!{name}" for name in copied} <= set((CHECKOUT / ".dockerignore").read_text().splitlines())
    context = tmp_path / "context"
    context.mkdir()
    for name in copied:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, context / name)

    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(context)], check=True)

    (built,) = tmp_path.glob("log10_server-*.whl")
    with zipfile.ZipFile(built) as in_image, zipfile.ZipFile(wheel) as in_checkout:
        assert sorted(in_image.namelist()) == sorted(in_checkout.namelist())


def test_make_wheel_needs_no_test_environment() -> None:
    """`make --dry-run` in a checkout without an environment shows every step that would run."""
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", "wheel"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert "pip wheel" in planned.stdout
    assert "[dev]" not in planned.stdout


def test_what_runs_is_the_wheel_and_not_the_checkout(programs: Path, environment: dict[str, str], away: Path) -> None:
    completed = subprocess.run(
        [programs / "python", "-c", "import log10_server; print(log10_server.__file__)"],
        env=environment,
        cwd=away,
        capture_output=True,
        text=True,
        check=True,
    )

    assert Path(completed.stdout.strip()).is_relative_to(programs.parent)


def test_a_newcomer_serves_from_an_empty_folder(environment: dict[str, str], away: Path, serve: Serve) -> None:
    """One story: first start, its three lines, the documentation, a completion, Ctrl-C, and a second start."""
    served = serve(["log10-server", "serve"], environment, away)
    served.wait_until_healthy()

    exported = dict(re.findall(r"\b(LOG10_(?:URL|TOKEN|ORG_ID))=(\S+)", served.output()))
    assert set(exported) == {"LOG10_URL", "LOG10_TOKEN", "LOG10_ORG_ID"}
    assert exported["LOG10_URL"] == served.url

    with httpx.Client(base_url=served.url, trust_env=False) as client:
        for page in ("/docs", "/redoc"):
            answer = client.get(page)
            loaded = re.findall(r'\b(?:src|href|spec-url)="([^"]+)"', answer.text)
            links = [urljoin(f"{served.url}{page}", link) for link in loaded]
            assert answer.status_code == 200
            assert len(links) > 2
            assert {urlsplit(link).netloc for link in links} == {urlsplit(served.url).netloc}
            assert [link for link in links if client.get(link).status_code != 200] == []
        assert client.get("/openapi.json").json()["info"]["title"] == "log10-server"

        client.headers["X-Log10-Token"] = exported["LOG10_TOKEN"]
        question = {"model": "some-model", "messages": [{"role": "user", "content": "2 + 2?"}]}
        logged = client.post("/api/v1/completions", json={"request": question, "tags": ["arithmetic"]})
        assert logged.status_code == 201, logged.text
        assert logged.json()["organization_id"] == exported["LOG10_ORG_ID"]
        completion = f"/api/v1/completions/{logged.json()['id']}"

    assert served.stopped_by(signal.SIGINT) == 0
    assert (away / "log10-server.db").is_file()

    again = serve(["log10-server", "serve"], environment, away)
    again.wait_until_healthy()

    assert exported["LOG10_TOKEN"] not in again.output()
    assert "LOG10_TOKEN=" not in again.output()
    assert "log10-server token issue" in again.output()
    kept = httpx.get(f"{again.url}{completion}", headers={"X-Log10-Token": exported["LOG10_TOKEN"]}, trust_env=False)
    assert kept.json()["request"] == question
    assert again.stopped_by(signal.SIGINT) == 0
