"""The class that builds a `Statement`: it selects rows of one organization, and adds parameters that are set later."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Select, Table, Text, bindparam, select
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine


class QueryBuilder(ABC):
    """Builds one statement about one organization, for one kind of database."""

    # Whether `rows_by_key` makes the database start a join at the given keys. If it does not, the join must be written
    # so that the database can't start with all rows of the organization.
    begins_joins_at_keys: ClassVar[bool]
    # Whether the database reads each row only when `Tx.iterate` asks for it. If it does not, a statement must bound by
    # itself how much it reads.
    reads_rows_on_demand: ClassVar[bool]

    def __init__(self) -> None:
        self.json_lists: set[str] = set()  # parameters that are lists and are passed to the driver as JSON

    def rows(self, table: Any, *columns: str) -> Select[Any]:
        """Select the organization's rows of `table`: the named columns, or all columns in their order."""
        selected = [table.c[name] for name in columns] if columns else [table]
        return select(*selected).where(self.is_owned(table))

    def is_owned(self, table: Any) -> ColumnElement[bool]:
        """A condition: a row of `table` (a table or an alias) belongs to the organization."""
        owned: ColumnElement[bool] = table.c.organization_id == bindparam("organization_id", type_=Text())
        return owned

    @abstractmethod
    def in_list(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """A condition: `column` is in the list that is passed as the parameter `name`."""

    @abstractmethod
    def rows_by_key(self, rows: Select[Any], column: ColumnElement[Any], name: str) -> Select[Any]:
        """Limit `rows` to those whose `column` is in the list that is passed as the parameter `name`.

        An index must begin with `column`, so that each value needs one index lookup.
        """

    @abstractmethod
    def rows_in_order(self, table: Table, payloads: Sequence[str], ids: str, max_bytes: str) -> Select[Any]:
        """Select the organization's rows of `table` that have the ids in the list that is the parameter `ids`.

        The rows are in the order of that list, and an id without a row gives a row of nulls. A further column has the
        size of the row: the bytes of the columns in `payloads`, which are null if it is more than the parameter
        `max_bytes`. A backend that returns all rows at once ends them after this number of bytes.
        """

    @abstractmethod
    def rows_by_keys(self, rows: Select[Any], columns: Sequence[ColumnElement[Any]], name: str) -> Select[Any]:
        """The same as `rows_by_key` for a key of several columns: the parameter is a list of lists of their values."""

    @abstractmethod
    def each_value(self, name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        """A parameter for which `Tx.fetch_each` takes several values, and returns the rows for each value."""

    @abstractmethod
    def size(self, column: ColumnElement[Any]) -> ColumnElement[int]:
        """About how many bytes a text has; 0 for null. Where the database can, it does not read the text for this."""

    @abstractmethod
    def position_in(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[int]:
        """The position of `part` in `text`, compared exactly, from 1; 0 if it is not in it."""

    @abstractmethod
    def finish(self, statement: ClauseElement) -> ClauseElement:
        """The statement to compile. With an `each_value` it may be rewritten to run once for all values."""
