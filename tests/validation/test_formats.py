"""The asserted formats, by their RFCs: what passes, what fails, and that no check takes long."""

import time
from typing import Any

import pytest
from jsonschema import FormatChecker

from log10_server.validation.formats import ASSERTED

GOOD = {
    "date-time": [
        "2026-01-31T08:00:00Z",
        "2026-01-31t08:00:00z",
        "2026-01-31T08:00:00.123456789+23:59",
        "2026-01-31T08:00:00-00:00",
        "1998-12-31T23:59:60Z",
        "1998-12-31T15:59:60.123-08:00",
        "1999-01-01T09:29:60+09:30",
        "2024-02-29T00:00:00Z",
        "0000-02-29T00:00:00Z",
    ],
    "date": ["2026-01-31", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"],
    "time": ["08:30:06Z", "08:30:06z", "08:30:06.283185Z", "23:59:60Z", "01:29:60+01:30", "23:29:60-00:30"],
    "duration": ["P4DT12H30M5S", "P4Y", "PT0S", "P0D", "P1M", "PT1M", "PT36H", "P1DT12H", "P2W", "P1Y2M3DT4H5M6S"],
    "email": [
        "joe.bloggs@example.com",
        "te~st@example.com",
        "a+b@sub.example.com",
        '"joe bloggs"@example.com',
        '"joe..bloggs"@example.com',
        '"joe@bloggs"@example.com',
        r'"joe\"bloggs"@example.com',
        "joe@localhost",
        "joe@[127.0.0.1]",
        "joe@[IPv6:::1]",
    ],
    "hostname": ["localhost", "www.example.com", "xn--4gbwdl.xn--wgbh1c", "a-b.c", "1.2.3.4", "a" * 63 + ".com"],
    "ipv4": ["0.0.0.0", "192.168.0.1", "255.255.255.255"],
    "ipv6": ["::", "::1", "2001:db8::ff00:42:8329", "::ffff:192.168.0.1", "1:2:3:4:5:6:7:8", "FE80::"],
    "uri": [
        "http://example.com",
        "http://user:pass@example.com:8080/a/b;c?d=e&f#g",
        "http://example.com:/",
        "http://[2001:db8::7]:80/",
        "http://[v1.fe80::a+en1]/",
        "ldap://[2001:db8::7]/c=GB?objectClass?one",
        "mailto:John.Doe@example.com",
        "news:comp.infosystems.www.servers.unix",
        "tel:+1-816-555-1212",
        "urn:oasis:names:specification:docbook:dtd:xml:4.1.2",
        "file:///etc/passwd",
        "http://example.com/%41%C3%A9?a%20b#%7E",
        "http://example.com/?a/b?c#/d?e",
        "http://example.com#",
        "a:",
    ],
    "uri-reference": ["", "/a/b", "//example.com/x", "#f", "?q", "a/b:c", "./a:b", "http://x", "#a%20b", "a", "%41"],
    "uuid": [
        "2eb8aa08-aa98-11ea-b4aa-73b441d16380",
        "2EB8AA08-AA98-11EA-B4AA-73B441D16380",
        "0" * 8 + "-0000" * 3 + "-" + "f" * 12,
    ],
    "json-pointer": ["", "/", "/a/b", "/a~0b~1c", "//", "/ ", "/\u00e9", '/"'],
    "regex": ["", "^a+$", "(?P<x>a)(?P=x)", "[[a]", "\\d{2,3}", "(?i)a"],
}

BAD = {
    "date-time": [
        "2026-01-31T08:00:00",
        "2026-01-31 08:00:00Z",
        "2026-02-30T08:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T08:60:00Z",
        "2026-01-31T08:00:00+24:00",
        "2026-01-31T08:00:00+0100",
        "2026-01-31T08:00:00+01",
        "2026-01-31T08:00Z",
        "2026-01-31T08:00:00.Z",
        "2026-01-31T08:00:00,5Z",
        "1998-12-31T23:59:61Z",
        "1998-12-31T22:59:60Z",
        "1998-12-31T23:59:60+01:00",
        "2026-01-31T08:00:00Z\n",
        " 2026-01-31T08:00:00Z",
        "20260131T080000Z",
        "2026-031T08:00:00Z",
        "+2026-01-31T08:00:00Z",
        "\u0662\u0660\u0662\u0666-01-31T08:00:00Z",
        "2026-01-31T08:00:0\u0660Z",
        "",
    ],
    "date": [
        "2026-02-29",
        "1900-02-29",
        "2026-13-01",
        "2026-00-01",
        "2026-01-00",
        "2026-04-31",
        "2026-1-1",
        "20260131",
        "2026-W05",
        "2026-031",
        "26-01-31",
        "2026-01-31\n",
        "2026-01-3\u0661",
        "",
    ],
    "time": [
        "08:30:06",
        "8:30:06Z",
        "24:00:00Z",
        "08:30Z",
        "22:59:60Z",
        "23:59:60+00:01",
        "08:30:06Z+00:00",
        "08:30:06 Z",
        "",
    ],
    "duration": [
        "PT1D",
        "P",
        "PT",
        "P4",
        "4D",
        "P1W1D",
        "P1Y1D",
        "PT1H1S",
        "P1.5D",
        "P-1D",
        "P1D2H",
        "p1d",
        "P1DT",
        "P\u0661D",
        "",
    ],
    "email": [
        "2962",
        "@example.com",
        "joe@",
        ".joe@example.com",
        "joe.@example.com",
        "jo..e@example.com",
        "joe bloggs@example.com",
        "joe@invalid=domain.com",
        "joe@-a.com",
        "joe@[127.0.0.300]",
        "joe@[::1]",
        "joe@[",
        '"joe"bloggs"@example.com',
        "a" * 65 + "@example.com",
        "joe@example.com\n",
        "jo\u00e9@example.com",
        "",
    ],
    "hostname": [
        "",
        "-a.com",
        "a-.com",
        "a..com",
        ".a",
        "a.",
        "a_b",
        "a b",
        "a" * 64,
        ".".join(["a" * 63] * 4),
        "ex\u00e4mple.com",
        "a\n",
        "a.\u0661",
    ],
    "ipv4": ["256.0.0.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4\n", "0x7f.1.1.1", "1.2.3.\u0664", "1.2.3.4/8", ""],
    "ipv6": [
        "12345::",
        ":::",
        "1::2::3",
        "::1%eth0",
        "::1/64",
        "1:2:3:4:5:6:7",
        "::ffff:1.2.3.256",
        "::\u0661",
        " ::1",
        "[::1]",
        "",
    ],
    "uri": [
        "//example.com",
        "/a",
        "a",
        "",
        "http://a b",
        "http://example.com/<>",
        "http://example.com/%4",
        "http://example.com/%zz",
        "http://example.com:80a/",
        "http://a:b:c/",
        "http://[::1",
        "http://[::g]/",
        "http://[::1]a/",
        "http://a@b@c/",
        "http://example.com/\\",
        "http://example.com/a#b#c",
        "http://example.com/\u00e9",
        "1http://example.com",
        ":a",
        "http://example.com\n",
        "http://example.com/[a]",
    ],
    "uri-reference": [
        "\\\\WINDOWS\\fileshare",
        "#a\\b",
        "a b",
        "1a:b",
        ":a",
        "%",
        "#%1",
        "http://[",
        "\n",
        "^",
        "//a:b/",
    ],
    "uuid": [
        "2eb8aa08aa9811eab4aa73b441d16380",
        "2eb8aa08-aa98-11ea-b4aa-73b441d1638",
        "2eb8aa08-aa98-11ea-b4aa73b441d16380-",
        "2eb8aa08-aa98-11ea-b4aa-73b441d1638g",
        "{2eb8aa08-aa98-11ea-b4aa-73b441d16380}",
        "2eb8aa08-aa98-11ea-b4aa-73b441d16380\n",
        "\u0662eb8aa08-aa98-11ea-b4aa-73b441d16380",
        "",
    ],
    "json-pointer": ["a", "#/a", "/~", "/~2", "/a~", " /a"],
    "regex": ["(", "[a", "a{2,1}", "*", "(?P<x>a", "\\", "(" * 5000, "a{99999999999999999999}", "(?<=a+)b"],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_format_is_asserted(name: str) -> None:
    assert [text for text in GOOD[name] if not ASSERTED.conforms(text, name)] == []
    assert [text for text in BAD[name] if ASSERTED.conforms(text, name)] == []


def test_the_documented_formats_are_asserted_and_no_others() -> None:
    assert set(ASSERTED.checkers) == set(GOOD) == set(BAD)
    for name in ("idn-email", "iri", "uri-template", "color", "", "relative-json-pointer"):
        assert ASSERTED.conforms("\n anything \ud800", name)


def test_a_value_that_is_no_string_passes() -> None:
    values: list[Any] = [None, True, 1, 1.5, [], {}, ["x"]]

    for name in GOOD:
        assert [value for value in values if not ASSERTED.conforms(value, name)] == []


def test_the_checks_of_the_library_stay_as_they_are() -> None:
    assert ASSERTED.checkers is not FormatChecker.checkers
    assert FormatChecker.checkers["date"] != ASSERTED.checkers["date"]


PIECES = [*'a1.-@:/~%P"[(+\n', "a.", "a-", "1.", "::", "~0", "%41", "1Y", "T1", "\\a", "a@", "\ud800", "\u0661"]
BEGINNINGS = ("", "P", "PT", "2026-01-31T08:00:00.", '"', "a@", "http://", "http://[", "/", "a:", "1.1.1.")


def test_a_long_text_stays_far_within_the_budget_of_a_validation() -> None:
    """The budget is 1 s. A pattern that backtracks takes many seconds for a text of this length, or hours."""
    slowest = 0.0

    for name in sorted(set(GOOD) - {"regex"}):
        for beginning in BEGINNINGS:
            for piece in PIECES:
                text = beginning + piece * (30_000 // len(piece)) + "!"
                started = time.perf_counter()
                ASSERTED.conforms(text, name)
                slowest = max(slowest, time.perf_counter() - started)

    assert slowest < 3.0
