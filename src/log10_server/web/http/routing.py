"""Finds the route for a request, and checks the parameters in its path."""

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from log10_server.errors import Invalid, NotAllowed, NotFound
from log10_server.web.http.fields import RESERVED_IDS, has_control_characters


class _IdConvertor(Convertor[str]):
    """An id in a path. It does not match reserved words, which have routes of their own."""

    regex = rf"(?!(?:{'|'.join(word.replace('.', '[.]') for word in sorted(RESERVED_IDS))})(?:/|\Z))[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _TextConvertor(_IdConvertor):
    """Any text to the end of a path, including line breaks, which Starlette's own `path` does not match."""

    regex = r"[\s\S]+"


register_url_convertor("id", _IdConvertor())
register_url_convertor("text", _TextConvertor())


class RouteIndex:
    """Finds routes by the beginning of their paths, before the first parameter. Starlette would try all routes in turn."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """Raises TypeError for a route that is not a plain `Route`, such as a mount."""
        self._by_beginning: dict[str, list[Route]] = {}
        for route in routes:
            if not isinstance(route, Route):
                raise TypeError(f"{route!r} is not a route")
            self._by_beginning.setdefault(route.path.partition("/{")[0], []).append(route)

    def find(self, scope: Scope, method: str) -> Route:
        """The route of a request, whose path parameters are put into `scope`. Longer beginnings are tried first.

        `method` is the one that the caller sent; HEAD is routed as GET. Raises NotAllowed when the path only has routes
        for other methods, and NotFound when it has none.
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
    """A parameter of the path. Raises NotFound when the path is not UTF-8."""
    parameter: str = scope["path_params"][name]
    try:
        unquote_to_bytes(scope["raw_path"]).decode()
    except UnicodeDecodeError:
        raise NotFound("The path is not UTF-8.") from None
    return parameter


def path_id(scope: Scope, name: str, convertor: Convertor[str]) -> str:
    """An id in the path. Raises NotFound when the path is not UTF-8, and Invalid for control characters.

    The id of a session may be any text, so in it only the character NUL is refused, which the databases can't store.
    """
    text = path_text(scope, name)
    if "\0" in text or (has_control_characters(text) and not isinstance(convertor, _TextConvertor)):
        raise Invalid.at("/id", "The id in the path must not hold control characters.")
    return text


def route_pattern(scope: Scope) -> str:
    """The path pattern of the request's route. Unlike the path it has no ids in it, so it may be logged."""
    return getattr(scope.get("route"), "path", "a path without a route")
