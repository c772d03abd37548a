"""What a `Statement` is built with: the organization's rows, and parameters that get their values when it is run."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Select, Text, bindparam, select
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine


class QueryBuilder(ABC):
    """Builds one statement about one organization, for one kind of database."""

    # Whether `rows_by_key` makes the database begin a join at the keys. Where it does not, a join must be written so
    # that it can't begin with all rows of the organization.
    begins_joins_at_keys: ClassVar[bool]

    def __init__(self) -> None:
        self.json_lists: set[str] = set()  # parameters that are lists and go to the driver as JSON

    def rows(self, table: Any, *columns: str) -> Select[Any]:
        """The organization's rows of `table`: all columns in their order, or those named."""
        selected = [table.c[name] for name in columns] if columns else [table]
        return select(*selected).where(self.is_owned(table))

    def is_owned(self, table: Any) -> ColumnElement[bool]:
        """Whether a row of `table`, or of an alias of it, is the organization's."""
        owned: ColumnElement[bool] = table.c.organization_id == bindparam("organization_id", type_=Text())
        return owned

    @abstractmethod
    def in_list(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        """Whether `column` is one of the list that is passed as the parameter `name`."""

    @abstractmethod
    def rows_by_key(self, rows: Select[Any], column: ColumnElement[Any], name: str) -> Select[Any]:
        """Those of `rows` whose `column` is one of the list that is passed as the parameter `name`.

        `column` is a key or the beginning of one: each value is one look into its index.
        """

    @abstractmethod
    def each_value(self, name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        """The parameter `name`, for each of whose values `Tx.fetch_each` runs the statement."""

    @abstractmethod
    def finish(self, statement: ClauseElement) -> ClauseElement:
        """The statement that is compiled: where a parameter is an `each_value`, it may run once for all values."""
