"""How the references of a schema are resolved, and which of them are refused (docs/api.md, "Task schemas").

No reference may leave the document, point to nothing, or lead back to itself without end. An object counts as a schema
where the draft expects a schema. In `const`, `default` or an unknown keyword it is only data, unless a reference points
to it. All traversals are loops and not recursive, because a chain of references may be longer than Python's stack.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from referencing import Anchor, Registry, Specification
from referencing.exceptions import NoSuchAnchor, Unresolvable
from referencing.jsonschema import DRAFT4, DRAFT6, DRAFT7, DRAFT201909, DRAFT202012

from log10_server.errors import FieldError, pointer
from log10_server.validation.messages import short

# mypy can't see the constructors that attrs makes for these.
_Specification: Any = Specification
_Anchor: Any = Anchor

# The address of a document without `$id`. The library leaves a document with an empty address out of the
# dynamic scope. Relative addresses inside are not joined with it, because a "urn:" has no path.
_NO_ADDRESS = "urn:log10-server:schema"

# Whether the value of a keyword is a schema, an object whose members are schemas, or an array of schemas.
SCHEMA, OBJECT_OF_SCHEMAS, ARRAY_OF_SCHEMAS = 1, 2, 4

_SHAPES_4 = {
    "additionalItems": SCHEMA,
    "additionalProperties": SCHEMA,
    "allOf": ARRAY_OF_SCHEMAS,
    "anyOf": ARRAY_OF_SCHEMAS,
    "definitions": OBJECT_OF_SCHEMAS,
    "dependencies": OBJECT_OF_SCHEMAS,
    "items": SCHEMA | ARRAY_OF_SCHEMAS,
    "not": SCHEMA,
    "oneOf": ARRAY_OF_SCHEMAS,
    "patternProperties": OBJECT_OF_SCHEMAS,
    "properties": OBJECT_OF_SCHEMAS,
}
_SHAPES_6 = _SHAPES_4 | {"contains": SCHEMA, "propertyNames": SCHEMA}
_SHAPES_7 = _SHAPES_6 | {"if": SCHEMA, "then": SCHEMA, "else": SCHEMA}
_SHAPES_2019 = _SHAPES_7 | {
    "$defs": OBJECT_OF_SCHEMAS,
    "contentSchema": SCHEMA,
    "dependentSchemas": OBJECT_OF_SCHEMAS,
    "unevaluatedItems": SCHEMA,
    "unevaluatedProperties": SCHEMA,
}
del _SHAPES_2019["dependencies"]
_SHAPES_2020 = _SHAPES_2019 | {"items": SCHEMA, "prefixItems": ARRAY_OF_SCHEMAS}
del _SHAPES_2020["additionalItems"]

# The keywords whose schemas are applied to the same value as the schema around them.
_IN_PLACE = frozenset({"allOf", "anyOf", "dependencies", "dependentSchemas", "else", "if", "not", "oneOf", "then"})


@dataclass(frozen=True, slots=True)
class Draft:
    """The differences of one draft of JSON Schema that matter for finding schemas and references."""

    shapes: dict[str, int]  # for each keyword that contains schemas: SCHEMA, ..., or several of these flags
    references: tuple[str, ...]  # the keywords whose value is a reference
    ref_hides_siblings: bool  # the keywords beside `$ref` are ignored
    id_keyword: str
    specification: Specification[Any]

    def subschemas(self, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The schemas directly below `schema` that are not ignored, each with its keyword.

        Values of a wrong type are skipped.
        """
        if not (self.ref_hides_siblings and schema.get("$ref") is not None):
            yield from _subschemas(schema, self.shapes)

    def schemas_in(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """`schema` and every schema below it, even beside a `$ref` that hides it."""
        pending = [schema]
        while pending:
            current = pending.pop()
            yield current
            pending += [subschema for _, subschema in _subschemas(current, self.shapes)]

    def enter(self, resolver: Any, schema: Any) -> Any:
        """The resolver for the references in `schema`, a subschema that may have its own address.

        It is looked up by that address, so that the schema around it joins the dynamic scope.
        """
        address = self.specification.id_of(schema)
        if address is None:
            return resolver
        try:
            return resolver.lookup(address.rstrip("#")).resolver
        except Unresolvable:  # the resolver knows no document, or an address with a fragment
            return resolver.in_subresource(self.specification.create_resource(schema))


def _subschemas(schema: dict[str, Any], shapes: dict[str, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    for keyword, value in schema.items():
        shape = shapes.get(keyword, 0)
        candidates: Iterable[Any] = ()
        if isinstance(value, dict):
            candidates = (value,) if shape & SCHEMA else value.values() if shape & OBJECT_OF_SCHEMAS else ()
        elif isinstance(value, list) and shape & ARRAY_OF_SCHEMAS:
            candidates = value
        for candidate in candidates:
            if isinstance(candidate, dict):
                yield keyword, candidate


def _draft(library: Specification[Any], shapes: dict[str, int], dynamic: tuple[str, ...] = ()) -> Draft:
    id_keyword = "id" if library is DRAFT4 else "$id"
    is_early = library in (DRAFT4, DRAFT6, DRAFT7)

    def id_of(schema: Any) -> str | None:
        """The address that the schema gives itself, or None.

        In early drafts an id that is only a fragment, such as `#node`, is an anchor and not an address.
        """
        if not isinstance(schema, dict) or (is_early and "$ref" in schema):
            return None
        address = schema.get(id_keyword)
        if not isinstance(address, str) or not _is_address(address) or (is_early and address.startswith("#")):
            return None
        return address

    def anchors_in(specification: Specification[Any], schema: Any) -> Iterator[Any]:
        if not isinstance(schema, dict):
            return
        here = specification.create_resource(schema)
        name = schema.get(id_keyword if is_early else "$anchor")
        if isinstance(name, str) and (not is_early or name.startswith("#")):
            yield _Anchor(name=name[is_early:], resource=here)
        # For `$ref` a dynamic anchor is like any other. Only `$dynamicRef` treats it differently (see `resolve`).
        if library is DRAFT202012 and isinstance(schema.get("$dynamicAnchor"), str):
            yield _Anchor(name=schema["$dynamicAnchor"], resource=here)

    return Draft(
        shapes=shapes,
        references=("$ref", *dynamic),
        ref_hides_siblings=is_early,
        id_keyword=id_keyword,
        # The library's own specifications fail on values of a wrong type, and on a `dependencies` that contains both
        # schemas and lists of names.
        specification=_Specification(
            name=library.name,
            id_of=id_of,
            subresources_of=lambda schema: (subschema for _, subschema in _subschemas(schema, shapes)),
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
    """A resolver for the references in `schema`. It knows only that document, and fetches nothing."""
    root = draft.specification.create_resource(schema)
    registry: Registry[Any] = Registry()
    # The document is crawled now, because otherwise every look-up of an anchor would crawl it again. It is not
    # registered under its own address, because the crawl would join that address with itself: "a/b.json" would become
    # "a/a/b.json".
    return registry.with_resource(_NO_ADDRESS, root).crawl().resolver(root.id() or _NO_ADDRESS)


def resolve(resolver: Any, keyword: str, reference: str) -> Any:
    """Where a `$ref`, `$dynamicRef` or `$recursiveRef` leads: an object with `contents` and a `resolver`.

    Raises Unresolvable, or another LookupError, TypeError, ValueError or AttributeError for an odd reference.
    """
    target = resolver.lookup(reference)
    if keyword == "$recursiveRef":
        return _outermost_recursive_anchor(target)
    if keyword == "$dynamicRef":
        return _outermost_dynamic_anchor(target, unquote(urldefrag(reference).fragment))
    return target


def _outermost_recursive_anchor(target: Any) -> Any:
    """The outermost document in the dynamic scope that has `"$recursiveAnchor": true`, if `target` has it."""
    outermost = target
    if _has(target.contents, "$recursiveAnchor", True):
        for address, _ in target.resolver.dynamic_scope():
            candidate = target.resolver.lookup(address)
            if _has(candidate.contents, "$recursiveAnchor", True):
                outermost = candidate
    return outermost


def _outermost_dynamic_anchor(target: Any, name: str) -> Any:
    """The outermost schema in the dynamic scope that has this `$dynamicAnchor`, if `target` has it."""
    outermost = target
    if name and _has(target.contents, "$dynamicAnchor", name):
        for address, registry in target.resolver.dynamic_scope():
            try:
                candidate = registry.anchor(address, name).value.resource.contents
            except NoSuchAnchor:
                continue
            if _has(candidate, "$dynamicAnchor", name):
                outermost = target.resolver.lookup(f"{address}#{name}")
    return outermost


def _has(schema: Any, keyword: str, value: Any) -> bool:
    return isinstance(schema, dict) and schema.get(keyword) == value


class Locations:
    """The position of every object and array in a document."""

    def __init__(self, document: dict[str, Any]) -> None:
        # For every object and array, by id(): the one that holds it, and its name or index there.
        self._parents: dict[int, tuple[int, str | int]] = {}
        pending: list[Any] = [document]
        while pending:
            parent = pending.pop()
            members: Iterable[tuple[str | int, Any]] = parent.items() if isinstance(parent, dict) else enumerate(parent)
            for part, member in members:
                if isinstance(member, dict | list):
                    self._parents[id(member)] = (id(parent), part)
                    pending.append(member)

    def pointer_to(self, schema: dict[str, Any]) -> str:
        """The JSON Pointer of an object in the document."""
        parts: list[str | int] = []
        current = id(schema)
        while current in self._parents:
            current, part = self._parents[current]
            parts.append(part)
        return pointer(*reversed(parts))


class References:
    """The schemas of a document, and the errors of its references."""

    def __init__(self, schema: dict[str, Any], draft: Draft, locations: Locations) -> None:
        self.field_errors: list[FieldError] = []
        self.schemas: list[dict[str, Any]] = []  # objects where the draft expects a schema, and those in `referred`
        self.referred: list[dict[str, Any]] = []  # objects that count as schemas only because a reference leads to them
        self._draft = draft
        self._locations = locations
        self._visited: set[int] = set()
        self._in_place: dict[int, list[dict[str, Any]]] = {}  # by id(): the schemas applied to the same value
        references = self._visit(schema, resolver_of(schema, draft))
        while references:
            target = self._follow(*references.pop())
            if target is not None:
                contents, resolver = target
                self.referred.append(contents)
                references += self._visit(contents, resolver)
        self._find_circular_references()

    def _visit(self, start: dict[str, Any], resolver: Any) -> list[tuple[dict[str, Any], str, Any]]:
        """Collect `start` and the schemas below it. Returns their references, each with its keyword and resolver."""
        references = []
        pending = [(start, resolver)]
        while pending:
            schema, resolver = pending.pop()
            if id(schema) in self._visited:
                continue
            self._visited.add(id(schema))
            self.schemas.append(schema)
            self._in_place[id(schema)] = []
            references += [(schema, keyword, resolver) for keyword in self._draft.references if keyword in schema]
            address = schema.get(self._draft.id_keyword)
            if isinstance(address, str) and not _is_address(address):
                self._add_error(schema, self._draft.id_keyword, f"{short(address)} is not a valid address.")
            for keyword, subschema in self._draft.subschemas(schema):
                if keyword in _IN_PLACE:
                    self._in_place[id(schema)].append(subschema)
                pending.append((subschema, self._draft.enter(resolver, subschema)))
        return references

    def _follow(self, schema: dict[str, Any], keyword: str, resolver: Any) -> tuple[dict[str, Any], Any] | None:
        """The target of a reference, with its resolver; None if it is not a schema, or was visited before."""
        reference = schema[keyword]
        if not isinstance(reference, str):
            self._add_error(schema, keyword, "Must be a string.")
            return None
        if keyword == "$recursiveRef" and reference != "#":
            self._add_error(schema, keyword, 'Must be "#".')
            return None
        try:
            target = resolver.lookup(reference)
        except Unresolvable as error:
            # If only the place in the document is unknown, the library raises a subclass of Unresolvable.
            is_outside = type(error) is Unresolvable
            reason = "It leaves the document, and nothing is fetched" if is_outside else _NOWHERE
            self._add_error(schema, keyword, f"{reason}: {short(reference)}.")
            return None
        except (LookupError, TypeError, ValueError, AttributeError):  # "#/items/x" into an array, "http://["
            self._add_error(schema, keyword, f"{_NOWHERE}: {short(reference)}.")
            return None
        contents = target.contents
        if isinstance(contents, bool) and self._draft.specification.name != DRAFT4.name:
            return None
        if not isinstance(contents, dict):
            self._add_error(schema, keyword, f"It leads to a value that is not a schema: {short(reference)}.")
            return None
        if not self._is_exact_pointer(contents, reference):
            self._add_error(schema, keyword, f"{_NOWHERE}: {short(reference)}.")
            return None
        if keyword == "$ref" or not (contents.get("$dynamicAnchor") or contents.get("$recursiveAnchor")):
            self._in_place[id(schema)].append(contents)
        return None if id(contents) in self._visited else (contents, target.resolver)

    def _is_exact_pointer(self, target: dict[str, Any], reference: str) -> bool:
        """Whether a JSON Pointer names `target` by RFC 6901. The library also takes "/allOf/-1" and "/allOf/01"."""
        fragment = unquote(urldefrag(reference).fragment)
        return not fragment.startswith("/") or self._locations.pointer_to(target).endswith(fragment)

    def _find_circular_references(self) -> None:
        """Find schemas that refer back to themselves for the same value: validating with them would never end."""
        finished: set[int] = set()
        for start in self.schemas:
            trail: dict[int, Iterator[dict[str, Any]]] = {}
            current: dict[str, Any] | None = start if id(start) not in finished else None
            while current is not None or trail:
                if current is not None:
                    trail[id(current)] = iter(self._in_place[id(current)])
                last = next(reversed(trail))
                current = next(trail[last], None)
                if current is None:
                    trail.popitem()
                    finished.add(last)
                elif id(current) in trail:
                    self._add_error(current, "", "It refers to itself without end.")
                    current = None
                elif id(current) in finished:
                    current = None

    def _add_error(self, schema: dict[str, Any], keyword: str, message: str) -> None:
        location = self._locations.pointer_to(schema)
        self.field_errors.append(FieldError(location + (pointer(keyword) if keyword else ""), message))


_NOWHERE = "It leads nowhere in the document"


def _is_address(text: str) -> bool:
    try:
        urljoin("http://base/", text)
    except ValueError:
        return False
    return True
