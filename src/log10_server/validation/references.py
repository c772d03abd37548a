"""What a schema refers to: no reference may leave the document, lead nowhere, or go round in a circle (docs/api.md, "Task schemas").

Only what stands where its draft has a schema is one; the same words in `const`, `default` or an unknown keyword are
data, until a reference leads there. Every walk here is a loop: a chain of references may be longer than the stack.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from referencing import Anchor, Registry, Specification
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT4, DRAFT6, DRAFT7, DRAFT201909, DRAFT202012, DynamicAnchor

from log10_server.errors import FieldError, pointer
from log10_server.validation.keywords import short

# Made by attrs in a way that hides their constructors from mypy.
_Specification: Any = Specification
_Anchor: Any = Anchor
_DynamicAnchor: Any = DynamicAnchor

ONE, MANY, LISTED = 1, 2, 4  # the keyword's value is a schema, has schemas as its members, or as its items

_SHAPES_4 = {
    "additionalItems": ONE,
    "additionalProperties": ONE,
    "allOf": LISTED,
    "anyOf": LISTED,
    "definitions": MANY,
    "dependencies": MANY,
    "items": ONE | LISTED,
    "not": ONE,
    "oneOf": LISTED,
    "patternProperties": MANY,
    "properties": MANY,
}
_SHAPES_6 = _SHAPES_4 | {"contains": ONE, "propertyNames": ONE}
_SHAPES_7 = _SHAPES_6 | {"if": ONE, "then": ONE, "else": ONE}
_SHAPES_2019 = _SHAPES_7 | {
    "$defs": MANY,
    "contentSchema": ONE,
    "dependentSchemas": MANY,
    "unevaluatedItems": ONE,
    "unevaluatedProperties": ONE,
}
del _SHAPES_2019["dependencies"]
_SHAPES_2020 = _SHAPES_2019 | {"items": ONE, "prefixItems": LISTED}
del _SHAPES_2020["additionalItems"]

# The schemas that are applied to the same value as the schema around them.
_IN_PLACE = frozenset({"allOf", "anyOf", "dependencies", "dependentSchemas", "else", "if", "not", "oneOf", "then"})


@dataclass(frozen=True, slots=True)
class Draft:
    """How one draft of JSON Schema is read."""

    shapes: dict[str, int]
    references: tuple[str, ...]
    ref_stands_alone: bool  # what stands beside `$ref` is ignored
    id_keyword: str
    specification: Specification[Any]

    def parts(self, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The schemas right below `schema`, each with its keyword. Wrong shapes are passed over."""
        if not (self.ref_stands_alone and schema.get("$ref") is not None):
            yield from _parts(schema, self.shapes)

    def schemas_in(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """`schema` and all that stand below it as schemas, also beside a `$ref`."""
        waiting = [schema]
        while waiting:
            here = waiting.pop()
            yield here
            waiting += [part for _, part in _parts(here, self.shapes)]


def _parts(schema: dict[str, Any], shapes: dict[str, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    for keyword, value in schema.items():
        shape = shapes.get(keyword, 0)
        held: Iterable[Any] = ()
        if isinstance(value, dict):
            held = (value,) if shape & ONE else value.values() if shape & MANY else ()
        elif isinstance(value, list) and shape & LISTED:
            held = value
        for part in held:
            if isinstance(part, dict):
                yield keyword, part


def _draft(library: Specification[Any], shapes: dict[str, int], dynamic: tuple[str, ...] = ()) -> Draft:
    id_keyword = "id" if library is DRAFT4 else "$id"
    early = library in (DRAFT4, DRAFT6, DRAFT7)

    def id_of(schema: Any) -> str | None:
        """The schema's own address. In early drafts one that is only a fragment is an anchor."""
        if not isinstance(schema, dict) or (early and "$ref" in schema):
            return None
        address = schema.get(id_keyword)
        if not isinstance(address, str) or not _is_address(address) or (early and address.startswith("#")):
            return None
        return address

    def anchors_in(specification: Specification[Any], schema: Any) -> Iterator[Any]:
        if not isinstance(schema, dict):
            return
        here = specification.create_resource(schema)
        plain = schema.get(id_keyword if early else "$anchor")
        if isinstance(plain, str) and (not early or plain.startswith("#")):
            yield _Anchor(name=plain[early:], resource=here)
        if library is DRAFT202012 and isinstance(schema.get("$dynamicAnchor"), str):
            yield _DynamicAnchor(name=schema["$dynamicAnchor"], resource=here)

    return Draft(
        shapes=shapes,
        references=("$ref", *dynamic),
        ref_stands_alone=early,
        id_keyword=id_keyword,
        # The library's own stumble over wrong shapes, and over `dependencies` of both kinds in one object.
        specification=_Specification(
            name=library.name,
            id_of=id_of,
            subresources_of=lambda schema: (part for _, part in _parts(schema, shapes)),
            anchors_in=anchors_in,
            maybe_in_subresource=library.maybe_in_subresource,
        ),
    )


DRAFTS = {
    "http://json-schema.org/draft-04/schema": _draft(DRAFT4, _SHAPES_4),
    "http://json-schema.org/draft-06/schema": _draft(DRAFT6, _SHAPES_6),
    "http://json-schema.org/draft-07/schema": _draft(DRAFT7, _SHAPES_7),
    "https://json-schema.org/draft/2019-09/schema": _draft(DRAFT201909, _SHAPES_2019, ("$recursiveRef",)),
    "https://json-schema.org/draft/2020-12/schema": _draft(DRAFT202012, _SHAPES_2020, ("$dynamicRef",)),
}


def resolver_of(schema: dict[str, Any], draft: Draft) -> Any:
    """What resolves the references in `schema`: it knows that one document, and fetches nothing."""
    root = draft.specification.create_resource(schema)
    registry: Registry[Any] = Registry()
    # Crawled now, or every look-up of an anchor would crawl again; and not under its own address, or the crawl would
    # join that with itself: "a/b.json" would become "a/a/b.json".
    return registry.with_resource("", root).crawl().resolver(root.id() or "")


class Places:
    """Where everything stands in a document."""

    def __init__(self, document: dict[str, Any]) -> None:
        # For every object and array, by id(): what holds it, and under which name or index.
        self._above: dict[int, tuple[int, str | int]] = {}
        waiting: list[Any] = [document]
        while waiting:
            holder = waiting.pop()
            members: Iterable[tuple[str | int, Any]] = holder.items() if isinstance(holder, dict) else enumerate(holder)
            for part, member in members:
                if isinstance(member, dict | list):
                    self._above[id(member)] = (id(holder), part)
                    waiting.append(member)

    def pointer_to(self, schema: dict[str, Any]) -> str:
        """Its JSON Pointer."""
        parts: list[str | int] = []
        here = id(schema)
        while here in self._above:
            here, part = self._above[here]
            parts.append(part)
        return pointer(*reversed(parts))


class References:
    """The schemas that a document holds, and the faults of its references."""

    def __init__(self, schema: dict[str, Any], draft: Draft, places: Places) -> None:
        self.faults: list[FieldError] = []
        self.schemas: list[dict[str, Any]] = []  # all that stand as one, and those that a reference leads to
        self.elsewhere: list[dict[str, Any]] = []  # those that only a reference makes a schema
        self._draft = draft
        self._places = places
        self._known: set[int] = set()
        self._in_place: dict[int, list[dict[str, Any]]] = {}  # by id(): what is applied to the same value
        found = self._walk(schema, resolver_of(schema, draft))
        while found:
            reference = found.pop()
            target = self._target(*reference)
            if target is not None:
                contents, resolver = target
                self.elsewhere.append(contents)
                found += self._walk(contents, resolver)
        self._find_circles()

    def _walk(self, start: dict[str, Any], resolver: Any) -> list[tuple[dict[str, Any], str, Any]]:
        """Get to know `start` and what is below it; the references found, each with its keyword and resolver."""
        found = []
        waiting = [(start, resolver)]
        while waiting:
            schema, resolver = waiting.pop()
            if id(schema) in self._known:
                continue
            self._known.add(id(schema))
            self.schemas.append(schema)
            self._in_place[id(schema)] = []
            found += [(schema, keyword, resolver) for keyword in self._draft.references if keyword in schema]
            address = schema.get(self._draft.id_keyword)
            if isinstance(address, str) and not _is_address(address):
                self._fault(schema, self._draft.id_keyword, f"{short(address)} can't be read as an address.")
            for keyword, part in self._draft.parts(schema):
                if keyword in _IN_PLACE:
                    self._in_place[id(schema)].append(part)
                inner = resolver.in_subresource(self._draft.specification.create_resource(part))
                waiting.append((part, inner))
        return found

    def _target(self, schema: dict[str, Any], keyword: str, resolver: Any) -> tuple[dict[str, Any], Any] | None:
        """Where a reference leads, when that was not known for a schema before."""
        reference = schema[keyword]
        if not isinstance(reference, str):
            self._fault(schema, keyword, "Must be a string.")
            return None
        if keyword == "$recursiveRef" and reference != "#":
            self._fault(schema, keyword, 'Must be "#".')
            return None
        try:
            resolved = resolver.lookup(reference)
        except Unresolvable as error:
            outside = type(error) is Unresolvable  # its subclasses know the document, but not the place in it
            rule = "It leaves the document, and nothing is fetched" if outside else "It leads nowhere in the document"
            self._fault(schema, keyword, f"{rule}: {short(reference)}.")
            return None
        except (LookupError, TypeError, ValueError, AttributeError):  # "#/items/x" into an array, "http://["
            self._fault(schema, keyword, f"It leads nowhere in the document: {short(reference)}.")
            return None
        target = resolved.contents
        if isinstance(target, bool) and self._draft.specification.name != DRAFT4.name:
            return None
        if not isinstance(target, dict):
            self._fault(schema, keyword, f"It leads to what is not a schema: {short(reference)}.")
            return None
        if not self._is_spelled_out(target, reference):
            self._fault(schema, keyword, f"It leads nowhere in the document: {short(reference)}.")
            return None
        if keyword == "$ref" or not (target.get("$dynamicAnchor") or target.get("$recursiveAnchor")):
            self._in_place[id(schema)].append(target)
        return None if id(target) in self._known else (target, resolved.resolver)

    def _is_spelled_out(self, target: dict[str, Any], reference: str) -> bool:
        """Whether a JSON Pointer names `target` by RFC 6901; the library also takes "/allOf/-1" and "/allOf/01"."""
        fragment = unquote(urldefrag(reference).fragment)
        return not fragment.startswith("/") or self._places.pointer_to(target).endswith(fragment)

    def _find_circles(self) -> None:
        """Find schemas that come back to themselves with the same value: validating them would never end."""
        done: set[int] = set()
        for start in self.schemas:
            trail: dict[int, Iterator[dict[str, Any]]] = {}
            here: dict[str, Any] | None = start if id(start) not in done else None
            while here is not None or trail:
                if here is not None:
                    trail[id(here)] = iter(self._in_place[id(here)])
                last = next(reversed(trail))
                here = next(trail[last], None)
                if here is None:
                    trail.popitem()
                    done.add(last)
                elif id(here) in trail:
                    self._fault(here, "", "It refers to itself without end.")
                    here = None
                elif id(here) in done:
                    here = None

    def _fault(self, schema: dict[str, Any], keyword: str, message: str) -> None:
        self.faults.append(FieldError(self._places.pointer_to(schema) + (pointer(keyword) if keyword else ""), message))


def _is_address(text: str) -> bool:
    try:
        urljoin("http://base/", text)
    except ValueError:
        return False
    return True
