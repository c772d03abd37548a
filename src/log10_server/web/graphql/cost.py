"""How much a document asks for, told from its form: nothing is validated or executed that is larger than anyone needs."""

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

# The introspection by an explorer has 183 tokens, and 229 fields on 15 levels.
MOST_TOKENS = 1000
MOST_FIELDS = 500
MOST_LEVELS = 20


def too_large(document: DocumentNode) -> str | None:
    """Why the document asks for too much; None when it does not. Fragments count wherever they are spread."""
    count = _Count(node for node in document.definitions if isinstance(node, FragmentDefinitionNode))
    fields = levels = 0
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            found = count.of(node.selection_set)
            fields, levels = fields + found[0], max(levels, found[1])
    if levels > MOST_LEVELS:
        return f"The document is nested deeper than {MOST_LEVELS} levels."
    if fields > MOST_FIELDS:
        return f"The document asks for more than {MOST_FIELDS} fields."
    return None


def fields_of(info: GraphQLResolveInfo[Any]) -> int:
    """How many fields are asked of the field that is being resolved, at all levels."""
    count = _Count(info.fragments.values())
    return sum(count.of(node.selection_set)[0] for node in info.field_nodes)


class _Count:
    """Counts fields and levels; a fragment is counted once, however often it is spread."""

    def __init__(self, fragments: Iterable[FragmentDefinitionNode]) -> None:
        self._fragments = {fragment.name.value: fragment for fragment in fragments}
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, selected: SelectionSetNode | None) -> tuple[int, int]:
        fields = levels = 0
        for selection in selected.selections if selected is not None else ():
            if isinstance(selection, FieldNode):
                below = self.of(selection.selection_set)
                found = below[0] + 1, below[1] + 1
            elif isinstance(selection, InlineFragmentNode):
                found = self.of(selection.selection_set)
            else:
                assert isinstance(selection, FragmentSpreadNode)
                found = self._of_fragment(selection.name.value)
            fields, levels = fields + found[0], max(levels, found[1])
        return fields, levels

    def _of_fragment(self, name: str) -> tuple[int, int]:
        if name not in self._known:
            self._known[name] = 0, 0  # a fragment inside itself; validation refuses it
            fragment = self._fragments.get(name)
            self._known[name] = (0, 0) if fragment is None else self.of(fragment.selection_set)
        return self._known[name]
