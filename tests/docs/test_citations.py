"""What the code and the documents refer to exists: sections of docs/api.md, linked pages, files, codes of errors."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from log10_server.web.http.problems import TITLES
from tests.running import CHECKOUT

API = CHECKOUT / "docs" / "api.md"
CITING_FOLDERS = ["src", "tests", "migrations", "benchmarks"]
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])

# A docstring may break a line inside a citation, and may name several sections: docs/api.md, "Lists" and "Limits".
CITATION = re.compile(r'docs/api\.md,\s*(?:sections?\s+)?("[^"]+"(?:(?:,|,?\s+and)\s+"[^"]+")*)')


def headings(document: Path) -> list[str]:
    without_code = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    return re.findall(r"^#+ (.+)$", without_code, re.M)


def cited_sections(text: str) -> list[str]:
    """The sections that a Python file cites, in their order. Comment marks at line starts are not part of a title."""
    unwrapped = re.sub(r"\n\s*(?:#\s*)?", " ", text).replace('\\"', '"')
    return [title for cited in CITATION.findall(unwrapped) for title in re.findall(r'"([^"]+)"', cited)]


def citing_files() -> Iterator[Path]:
    for folder in CITING_FOLDERS:
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            if path != Path(__file__):
                yield path


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_cited_section_of_the_api_rules_exists() -> None:
    sections = set(headings(API))

    unknown = {
        (path.relative_to(CHECKOUT).as_posix(), title)
        for path in citing_files()
        for title in cited_sections(path.read_text())
        if title not in sections
    }

    assert unknown == set()


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ('"""Store feedback (docs/api.md, "Uploading feedback")."""', ["Uploading feedback"]),
        ('# Newest first: docs/api.md, "Lists" and\n    # "Limits".', ["Lists", "Limits"]),
        ('"""One (docs/api.md,\n    "Tokens and\n    organizations")."""', ["Tokens and organizations"]),
        ('"""Rules stand in docs/api.md. A "word" is something else."""', []),
    ],
)
def test_a_citation_is_found_in_any_layout(text: str, sections: list[str]) -> None:
    assert cited_sections(text) == sections


def test_every_link_and_picture_of_a_document_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for document in DOCUMENTS:
        for target in re.findall(r"(?:\]\(|\bsrc=\")([^)\"\s]+)[)\"]", document.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, fragment = target.partition("#")
            path = (document.parent / name).resolve() if name else document
            if not path.exists() or (fragment and fragment not in map(anchor, headings(path))):
                broken.append((document.name, target))

    assert broken == []


def test_every_module_that_a_document_names_exists() -> None:
    """The CHANGELOG is left out, because it tells of files as they were. `datasets` is CONTRIBUTING's example."""
    missing = {
        (document.name, path)
        for document in DOCUMENTS
        if document.name != "CHANGELOG.md"
        for path in re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)`", document.read_text())
        if not path.endswith("/datasets.py")
        and not any((root / path).is_file() for root in (CHECKOUT, CHECKOUT / "src" / "log10_server"))
    }

    assert missing == set()


def test_the_table_of_error_codes_is_that_of_the_code() -> None:
    (section,) = re.findall(r"^## Errors$(.*?)^## ", API.read_text(), re.M | re.S)
    documented = [
        code for cell in re.findall(r"^\| \d+ \| (.+?) \|", section, re.M) for code in re.findall(r"`(\w+)`", cell)
    ]

    assert sorted(documented) == sorted(TITLES)


def test_the_api_rules_have_the_sections_that_docstrings_cite() -> None:
    """These titles are cited all over the code, so a changed title changes the citations as well."""
    assert headings(API)[1:14] == [
        "The versioned API",
        "The calls of log10-io",
        "Tokens and organizations",
        "Errors",
        "Envelopes",
        "Completions",
        "Tags and selectors",
        "Uploading feedback",
        "Ungraded completions",
        "Task schemas",
        "Lists",
        "Limits",
        "Durability",
    ]
