"""Resolves the fields of the GraphQL schema: each resolver calls a service and translates its result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, GraphQLResolveInfo, GraphQLSchema, build_schema
from pydantic import TypeAdapter, ValidationError

from log10_server.clock import utc
from log10_server.db.transaction import Tx
from log10_server.errors import Invalid
from log10_server.services import completions, feedback, feedback_tasks, test_runs, ungraded_index
from log10_server.services.feedback import StoredFeedback
from log10_server.services.filters import Filter, FilterError, parse_filter
from log10_server.settings import Limits
from log10_server.store.completions import CompletionRow
from log10_server.store.feedback import ACCEPTED, Filters
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.store.organizations import OrganizationRow
from log10_server.strict_json import JsonText
from log10_server.web.graphql.cost import count_fields
from log10_server.web.graphql.schema import SDL
from log10_server.web.http.call import check_organization
from log10_server.web.http.endpoint import field_errors
from log10_server.web.http.fields import AnyText, Name
from log10_server.web.v1.completions import Completion
from log10_server.web.v1.paging import DEFAULT_PAGE
from log10_server.web.v1.test_runs import report_path

# The command line of `log10-io` requests everything in one page (docs/api.md, "Lists").
MAX_PAGE = 10_000

# The budget of one request, so that a request can't keep a database connection busy for long. A list costs its limit
# times the number of fields selected in it, plus a fixed cost.
BUDGET = 200_000
_LIST_COST = 5_000
_FILTERED_LIST_COST = 50_000  # a filter on values reads a column of all feedback
_COMPLETION_COST = 500
_TEST_RUN_COST = 5_000


@dataclass
class GraphQLContext:
    """What the resolvers of one request share: a transaction, the caller's organization, and the rest of the budget."""

    tx: Tx
    organization: OrganizationRow
    limits: Limits
    address: str
    budget: int = BUDGET

    def spend(self, cost: int) -> None:
        """Take `cost` from the budget of the request. Raises GraphQLError if too little is left."""
        self.budget -= cost
        if self.budget < 0:
            raise GraphQLError(
                "The request asks for too much at once: fewer rows, fewer fields, or fewer lists with a filter.",
                extensions={"code": "too_costly"},
            )


Source = dict[str, Any]
Info = GraphQLResolveInfo[GraphQLContext]


def _organization(_root: None, info: Info, id_or_slug: str | None = None) -> OrganizationRow:
    """Raises Forbidden for another organization than the token's."""
    context = info.context
    check_organization(context.organization, id_or_slug)
    return context.organization


def _feedback_page(
    _organization: OrganizationRow,
    info: Info,
    filter_text: str | None = None,
    task_id: str | None = None,
    page: int | None = None,
    limit: int | None = None,
) -> Source:
    context = info.context
    page, limit = _at_least_one("page", page, 1), min(_at_least_one("limit", limit, DEFAULT_PAGE), MAX_PAGE)
    filters = Filters(task_id=_check_text("taskId", task_id or "", context) or None, state=ACCEPTED)
    offset = (page - 1) * limit
    predicate = _parse_filter(filter_text)
    context.spend(limit * count_fields(info) + (_LIST_COST if predicate is None else _FILTERED_LIST_COST))
    rows, total = feedback.list_page_with_total(context.tx, filters, predicate, offset, limit)
    tasks = feedback_tasks.find_many(context.tx, [row.feedback.task_id for row in rows])
    return {
        "pageInfo": {"totalCount": total, "currentPage": page, "hasNextPage": offset + len(rows) < total},
        "nodes": [_feedback(row, tasks[row.feedback.task_id]) for row in rows],
    }


def _completion(_organization: OrganizationRow, info: Info, completion_id: str) -> Source | None:
    context = info.context
    context.spend(_COMPLETION_COST)
    row = completions.find(context.tx, _check_text("id", completion_id, context))
    return None if row is None else _completion_fields(row)


def _completion_fields(row: CompletionRow) -> Source:
    return {
        "id": row.id,
        "createdAt": _time(row.created_at),
        "status": Completion.of(row).status,
        "tags": ungraded_index.tags_of(row),
    }


def _auto_feedback(completion: Source, info: Info) -> Source | None:
    context = info.context
    context.spend(_COMPLETION_COST)
    proposal = feedback.find_open_proposal(context.tx, completion["id"])
    if proposal is None:
        return None
    return {
        **_feedback(proposal, feedback_tasks.get(context.tx, proposal.feedback.task_id)),
        "status": proposal.feedback.state,
    }


def _create_test_run(_root: None, info: Info, new_run: Source) -> Source:
    context = info.context
    check_organization(context.organization, new_run.get("organizationId"))
    context.spend(_TEST_RUN_COST)
    name = _validate(_name, "/input/name", new_run["name"], context)
    row, secret = test_runs.create(context.tx, name)
    return {
        "id": row.id,
        "name": row.name,
        "reportUploadUrl": context.address + report_path(row, secret),
        "createdAt": _time(row.created_at),
        "organization": context.organization,
    }


def _feedback(stored: StoredFeedback, task: FeedbackTaskRow) -> Source:
    row = stored.feedback
    return {
        "id": row.id,
        "jsonValues": JsonText(row.json_values),
        "comment": row.comment,
        "createdAt": _time(row.created_at),
        "task": task,
        "completions": [{"id": completion_id} for completion_id in stored.completion_ids],
    }


def _parse_filter(text: str | None) -> Filter | None:
    """Parse a filter into a predicate on feedback values, or None if there is no filter.

    Raises GraphQLError for a syntax error.
    """
    if text is None or not text.strip():
        return None
    try:
        return parse_filter(text)
    except FilterError as error:
        raise GraphQLError(
            f"The filter can't be read. {error}.", extensions={"code": "invalid_filter", "position": error.position}
        ) from None


def _at_least_one(name: str, number: int | None, default: int) -> int:
    if number is None:
        return default
    if number < 1:
        raise Invalid.at(f"/{name}", "Must be at least 1.")
    return number


def _check_text(name: str, text: str, context: GraphQLContext) -> str:
    """Return the text of the argument `name`. Raises Invalid if it is very long, or if the databases can't store it."""
    return _validate(_any_text, f"/{name}", text, context)


def _validate(adapter: TypeAdapter[str], path: str, text: str, context: GraphQLContext) -> str:
    try:
        return adapter.validate_python(text, strict=True, context=context.limits)
    except ValidationError as error:
        raise Invalid(field_errors(error, path)) from None


_any_text: TypeAdapter[str] = TypeAdapter(AnyText)
_name: TypeAdapter[str] = TypeAdapter(Name)


def _time(microseconds: int) -> str:
    return utc(microseconds).isoformat(timespec="microseconds")


# Fields that are not listed here need no resolver: they are read from the objects that these resolvers return.
_RESOLVERS: dict[str, dict[str, Callable[..., Any]]] = {
    "Query": {"organization": _organization},
    "Organization": {"feedbackV2": _feedback_page, "completion": _completion},
    "Completion": {"autoFeedback": _auto_feedback},
    "Mutation": {"createTestRun": _create_test_run},
}


# Some arguments in the schema have the names of Python builtins, so the arguments of the resolvers have other names.
_PARAMETER_NAMES: dict[tuple[str, str], dict[str, str]] = {
    ("Query", "organization"): {"id": "id_or_slug"},
    ("Organization", "feedbackV2"): {"filter": "filter_text", "taskId": "task_id"},
    ("Organization", "completion"): {"id": "completion_id"},
    ("Mutation", "createTestRun"): {"input": "new_run"},
}


def _schema() -> GraphQLSchema:
    schema = build_schema(SDL)
    for type_name, resolvers in _RESOLVERS.items():
        fields = schema.type_map[type_name].fields  # type: ignore[attr-defined]
        for name, resolver in resolvers.items():
            fields[name].resolve = resolver
            for argument, parameter in _PARAMETER_NAMES.get((type_name, name), {}).items():
                fields[name].args[argument].out_name = parameter
    return schema


SCHEMA = _schema()
