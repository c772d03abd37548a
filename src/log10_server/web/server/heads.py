"""Pure functions that work on the head of a request: its target and its headers."""

import re

# Clients of a proxy send the target in absolute form (RFC 9112, section 3.2.2). This matches its scheme and authority.
_SCHEME_AND_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def size_of(headers: list[tuple[bytes, bytes]]) -> int:
    """Return the size of header lines in bytes, including colons, spaces and line ends."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


def with_path(target: bytes) -> bytes:
    """Return a target in absolute form with the path `/` if it has no path.

    A target that has a path, or that is not in absolute form, is returned unchanged.
    """
    match = _SCHEME_AND_AUTHORITY.match(target)
    if match is None or target[match.end() : match.end() + 1] == b"/":
        return target
    return match[0] + b"/" + target[match.end() :]
