"""Finds the route for a request, and checks the parameters in its path."""

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from log10_server.errors import Invalid, NotAllowed, NotFound
from log10_server.web.http.fields import RESERVED_IDS, has_control_characters


class _IdConvertor(Convertor[str]):
    """An id in a path. Reserved words do not match, because they have separate routes."""

    regex = rf"(?!(?:{'|'.join(word.replace('.', '[.]') for word in sorted(RESERVED_IDS))})(?:/|\Z))[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _TextConvertor(_IdConvertor):
    """Any text to the end of a path. Unlike Starlette's convertor `path`, it also matches line breaks."""

    regex = r"[\s\S]+"


register_url_convertor("id", _IdConvertor())
register_url_convertor("text", _TextConvertor())


class RouteIndex:
    """Finds the route of a request by the part of its path before the first parameter.

    This is faster than Starlette's router, which tries all routes in turn.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """Raises TypeError for a route that is not a plain `Route`, such as a mount."""
        self._by_beginning: dict[str, list[Route]] = {}
        for route in routes:
            if not isinstance(route, Route):
                raise TypeError(f"{route!r} is not a route")
            self._by_beginning.setdefault(route.path.partition("/{")[0], []).append(route)

    def find(self, scope: Scope, method: str) -> Route:
        """Return the route of a request, and put its path parameters into `scope`. The longest match is tried first.

        `method` is the one that the caller sent, while the method in `scope` is GET for a HEAD request. Raises
        NotAllowed if the path only has routes for other methods, and NotFound if it has none.
        """
        methods: set[str] = set()
        beginning: str = scope["path"]
        while beginning:
            for route in self._by_beginning.get(beginning, ()):
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    scope.update(child_scope)
                    return route
                if match is Match.PARTIAL:
                    methods |= route.methods or set()
            beginning = beginning.rpartition("/")[0]
        if not methods:
            raise NotFound("There is no such path.")
        if "GET" in methods:
            methods.add("HEAD")
        raise NotAllowed(f"The path has no method {method}.", allow=", ".join(sorted(methods)))


def path_text(scope: Scope, name: str) -> str:
    """Return the text of a path parameter. Raises NotFound if the path is not UTF-8."""
    parameter: str = scope["path_params"][name]
    try:
        unquote_to_bytes(scope["raw_path"]).decode()
    except UnicodeDecodeError:
        raise NotFound("The path is not UTF-8.") from None
    return parameter


def path_id(scope: Scope, name: str, convertor: Convertor[str]) -> str:
    """Return the id in a path. Raises NotFound if the path is not UTF-8, and Invalid for control characters.

    The id of a session may be any text. Only NUL is refused in it, because the databases can't store that character.
    """
    text = path_text(scope, name)
    if "\0" in text or (has_control_characters(text) and not isinstance(convertor, _TextConvertor)):
        raise Invalid.at("/id", "The id in the path must not contain control characters.")
    return text


def route_pattern(scope: Scope) -> str:
    """Return the path pattern of the request's route. Unlike the path it contains no ids, so it may be logged."""
    return getattr(scope.get("route"), "path", "a path without a route")
