"""Checks for the values of `format` that are enforced (docs/api.md, "Task schemas"). Other formats are not checked.

These checks replace the library's, because it checks half of the formats only with further packages, and some of those
use patterns that backtrack. Each check here takes time linear in the text, and only ASCII digits are digits. A value
that is not a string passes.
"""

import re
import warnings
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address

from jsonschema import FormatChecker

ASSERTED = FormatChecker(formats=())


def _asserted(name: str) -> Callable[[Callable[[str], bool]], Callable[[str], bool]]:
    """A decorator that registers a function as the check of the format `name`."""

    def register(holds: Callable[[str], bool]) -> Callable[[str], bool]:
        ASSERTED.checks(name)(lambda value: not isinstance(value, str) or holds(value))
        return holds

    return register


_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@_asserted("date")
def is_date(text: str) -> bool:
    """RFC 3339 `full-date`, if there is such a day in the calendar."""
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = map(int, match.groups())
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 1 <= month <= 12 and 1 <= day <= _DAYS[month - 1] + leap


@_asserted("time")
def is_time(text: str) -> bool:
    """RFC 3339 `full-time`, with an offset. A leap second (60) is allowed only at the end of a day in UTC."""
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    hour, minute, second = map(int, match.group(1, 2, 3))
    direction = -1 if match[4] == "-" else 1
    offset_hour, offset_minute = int(match[5] or 0), int(match[6] or 0)
    if hour > 23 or minute > 59 or second > 60 or offset_hour > 23 or offset_minute > 59:
        return False
    minutes_in_utc = hour * 60 + minute - direction * (offset_hour * 60 + offset_minute)
    return second < 60 or minutes_in_utc % (24 * 60) == 24 * 60 - 1


@_asserted("date-time")
def is_date_time(text: str) -> bool:
    """RFC 3339 `date-time`. `t` and `z` may be lower case."""
    return text[10:11] in ("T", "t") and is_date(text[:10]) and is_time(text[11:])


# RFC 3339, appendix A: no unit between the largest and the smallest may be left out, and weeks can't be combined with
# other units.
_DAY = r"[0-9]++D"
_DAYS_AND_MORE = rf"(?:[0-9]++Y(?:[0-9]++M(?:{_DAY})?)?|[0-9]++M(?:{_DAY})?|{_DAY})"
_SECOND = r"[0-9]++S"
_CLOCK = rf"T(?:[0-9]++H(?:[0-9]++M(?:{_SECOND})?)?|[0-9]++M(?:{_SECOND})?|{_SECOND})"
_DURATION = re.compile(rf"P(?:[0-9]++W|{_DAYS_AND_MORE}(?:{_CLOCK})?|{_CLOCK})")


@_asserted("duration")
def is_duration(text: str) -> bool:
    """RFC 3339, appendix A: a duration of ISO 8601 in whole numbers."""
    return _DURATION.fullmatch(text) is not None


_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


@_asserted("hostname")
def is_hostname(text: str) -> bool:
    """RFC 1123: labels of up to 63 letters, digits and inner hyphens; up to 253 characters in all.

    Punycode is not decoded.
    """
    return len(text) <= 253 and _HOSTNAME.fullmatch(text) is not None


@_asserted("ipv4")
def is_ipv4(text: str) -> bool:
    """RFC 2673: four decimal numbers without leading zeros."""
    return _IPV4.fullmatch(text) is not None


@_asserted("ipv6")
def is_ipv6(text: str) -> bool:
    """RFC 4291, without a zone."""
    if len(text) > 45 or "%" in text:
        return False
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LOCAL = re.compile(rf'{_ATOM}(?:\.{_ATOM})*+|"(?:[ !#-\[\]-~]|\\[ -~])*+"')


@_asserted("email")
def is_email(text: str) -> bool:
    """RFC 5321 `Mailbox`.

    The local part has up to 64 characters, as a dot-string or a quoted string. Then comes a host name, or an IP address
    in brackets.
    """
    local, _, domain = text.rpartition("@")
    if len(local) > 64 or _LOCAL.fullmatch(local) is None:
        return False
    if domain.startswith("[") and domain.endswith("]"):
        literal = domain[1:-1]
        return is_ipv6(literal[5:]) if literal[:5].lower() == "ipv6:" else is_ipv4(literal)
    return is_hostname(domain)


def _component(extra: str) -> re.Pattern[str]:
    """The pattern of a part of a URI (RFC 3986): unreserved, sub-delims, percent-encoded octets, and `extra`."""
    plain = rf"[A-Za-z0-9\-._~!$&'()*+,;={extra}]*+"
    return re.compile(rf"{plain}(?:%[0-9A-Fa-f]{{2}}{plain})*+")


_PARTS = re.compile(r"(?:([^:/?#]*+):)?+(?://([^/?#]*+))?+([^?#]*+)(?:\?([^#]*+))?+(?:#(.*+))?+", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+")
_USER, _HOST, _PATH, _QUERY = _component(":"), _component(""), _component(":@/"), _component(":@/?")
_PORT = re.compile(r"[0-9]*+")
_IP_FUTURE = re.compile(r"[vV][0-9A-Fa-f]++\.[A-Za-z0-9\-._~!$&'()*+,;=:]++")


@_asserted("uri-reference")
def is_uri_reference(text: str) -> bool:
    """RFC 3986 `URI-reference`."""
    match = _PARTS.fullmatch(text)
    if match is None:
        return False
    scheme, authority, path, query, fragment = match.groups()
    return (
        (scheme is None or _SCHEME.fullmatch(scheme) is not None)
        and (authority is None or _is_authority(authority))
        and _PATH.fullmatch(path) is not None
        and (query is None or _QUERY.fullmatch(query) is not None)
        and (fragment is None or _QUERY.fullmatch(fragment) is not None)
    )


@_asserted("uri")
def is_uri(text: str) -> bool:
    """RFC 3986 `URI`: a `URI-reference` with a scheme."""
    match = _PARTS.match(text)
    return match is not None and match[1] is not None and is_uri_reference(text)


def _is_authority(text: str) -> bool:
    user, _, rest = text.rpartition("@")
    if _USER.fullmatch(user) is None:
        return False
    if rest.startswith("["):
        literal, closed, after = rest[1:].partition("]")
        host_holds = bool(closed) and (is_ipv6(literal) or _IP_FUTURE.fullmatch(literal) is not None)
        return host_holds and (not after or (after[0] == ":" and _PORT.fullmatch(after, 1) is not None))
    host, _, port = rest.partition(":")
    return _HOST.fullmatch(host) is not None and _PORT.fullmatch(port) is not None


_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_BAD_ESCAPE = re.compile(r"~(?![01])")


@_asserted("uuid")
def is_uuid(text: str) -> bool:
    """RFC 4122, of any version, with hyphens."""
    return _UUID.fullmatch(text) is not None


@_asserted("json-pointer")
def is_json_pointer(text: str) -> bool:
    """RFC 6901, in its plain form (not the form in a URI fragment)."""
    return not text or (text[0] == "/" and _BAD_ESCAPE.search(text) is None)


@_asserted("regex")
def is_regex(text: str) -> bool:
    """A regular expression in the syntax of Python's `re`, which the keyword `pattern` uses too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(text)
    except Exception:
        # Besides `re.error` there are others, such as OverflowError for a large repeat or RecursionError for deep
        # groups.
        return False
    return True
