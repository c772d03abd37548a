"""Limits the size of GraphQL documents. A document that is far too large is neither validated nor executed."""

from collections.abc import Iterable
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLResolveInfo,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

# For comparison with these limits: the introspection query of GraphiQL has 183 tokens, and 229 fields on 15 levels.
MAX_TOKENS = 1000
MAX_FIELDS = 500
MAX_LEVELS = 20


def too_large(document: DocumentNode) -> str | None:
    """Return the reason why the document is too large, as a sentence, or None if it is not.

    The fields of a fragment count again at each place where the fragment is used.
    """
    counter = _FieldCounter(node for node in document.definitions if isinstance(node, FragmentDefinitionNode))
    fields = levels = 0
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            more_fields, more_levels = counter.count(node.selection_set)
            fields, levels = fields + more_fields, max(levels, more_levels)
    if levels > MAX_LEVELS:
        return f"The document is nested deeper than {MAX_LEVELS} levels."
    if fields > MAX_FIELDS:
        return f"The document asks for more than {MAX_FIELDS} fields."
    return None


def count_fields(info: GraphQLResolveInfo[Any]) -> int:
    """Return how many fields the query selects on all levels below the field that is being resolved."""
    counter = _FieldCounter(info.fragments.values())
    return sum(counter.count(node.selection_set)[0] for node in info.field_nodes)


class _FieldCounter:
    """Counts fields and levels.

    The counts of each fragment are computed only once. Otherwise fragments that use one another could take exponential
    time.
    """

    def __init__(self, fragments: Iterable[FragmentDefinitionNode]) -> None:
        self._fragments = {fragment.name.value: fragment for fragment in fragments}
        self._counts: dict[str, tuple[int, int]] = {}

    def count(self, selected: SelectionSetNode | None) -> tuple[int, int]:
        """Return the number of fields, and the number of levels on which they are."""
        fields = levels = 0
        for selection in selected.selections if selected is not None else ():
            if isinstance(selection, FieldNode):
                below, levels_below = self.count(selection.selection_set)
                more_fields, more_levels = below + 1, levels_below + 1
            elif isinstance(selection, InlineFragmentNode):
                more_fields, more_levels = self.count(selection.selection_set)
            else:
                assert isinstance(selection, FragmentSpreadNode)
                more_fields, more_levels = self._count_fragment(selection.name.value)
            fields, levels = fields + more_fields, max(levels, more_levels)
        return fields, levels

    def _count_fragment(self, name: str) -> tuple[int, int]:
        if name not in self._counts:
            # A fragment that uses itself is refused by validation, but validation runs later. Until then it counts as
            # empty, because counting would not end otherwise.
            self._counts[name] = 0, 0
            fragment = self._fragments.get(name)
            self._counts[name] = (0, 0) if fragment is None else self.count(fragment.selection_set)
        return self._counts[name]
