"""What the fields of the schema mean: each asks a service, and says the answer in the schema's words."""

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
from log10_server.services.filters import FilterError, parse_filter
from log10_server.settings import Limits
from log10_server.store.completions import CompletionRow
from log10_server.store.feedback import ACCEPTED, Filters
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.store.organizations import OrganizationRow
from log10_server.strict_json import JsonText
from log10_server.web.graphql.cost import fields_of
from log10_server.web.graphql.schema import SDL
from log10_server.web.http.call import check_organization
from log10_server.web.http.endpoint import field_errors
from log10_server.web.http.fields import AnyText, Name
from log10_server.web.v1.completions import DEFAULT_PAGE, Completion
from log10_server.web.v1.test_runs import report_path

# The command line of `log10-io` asks once for all that it wants (docs/api.md, "Lists").
MOST = 10_000

# What one request may cost. A list costs its limit times the fields asked of it, and what finding it takes.
BUDGET = 200_000
_A_LIST = 5_000
_A_FILTER = 50_000  # it reads all feedback of the task
_A_COMPLETION = 500
_A_RUN = 5_000


@dataclass
class GraphQLContext:
    """What the resolvers of one request work with."""

    tx: Tx
    organization: OrganizationRow
    limits: Limits
    address: str
    budget: int = BUDGET

    def spend(self, cost: int) -> None:
        """Raises GraphQLError when the request asks for more than one may."""
        self.budget -= cost
        if self.budget < 0:
            raise GraphQLError(
                "The request asks for too much at once: fewer rows, fewer fields, or fewer lists with a filter.",
                extensions={"code": "too_costly"},
            )


Source = dict[str, Any]
Info = GraphQLResolveInfo[GraphQLContext]


def _organization(_root: None, info: Info, id: str | None = None) -> OrganizationRow:
    """Raises Forbidden for another organization than the token's."""
    context = info.context
    check_organization(context.organization, id)
    return context.organization


def _feedback_page(
    _organization: OrganizationRow,
    info: Info,
    filter: str | None = None,
    taskId: str | None = None,
    page: int | None = None,
    limit: int | None = None,
) -> Source:
    context = info.context
    page, limit = _at_least_one("page", page, 1), min(_at_least_one("limit", limit, DEFAULT_PAGE), MOST)
    filters = Filters(task_id=_text("taskId", taskId or "", context) or None, state=ACCEPTED)
    offset = (page - 1) * limit
    test = _test(filter)
    context.spend(limit * fields_of(info) + (_A_LIST if test is None else _A_FILTER))
    given, total = feedback.list_page_with_total(context.tx, filters, test, offset, limit)
    tasks = feedback_tasks.find_many(context.tx, [one.feedback.task_id for one in given])
    return {
        "pageInfo": {"totalCount": total, "currentPage": page, "hasNextPage": offset + len(given) < total},
        "nodes": [_feedback(one, tasks[one.feedback.task_id]) for one in given],
    }


def _completion(_organization: OrganizationRow, info: Info, id: str) -> Source | None:
    context = info.context
    context.spend(_A_COMPLETION)
    row = completions.find(context.tx, _text("id", id, context))
    return None if row is None else _completion_of(row)


def _completion_of(row: CompletionRow) -> Source:
    shown = Completion.of(row)
    return {
        "id": row.id,
        "createdAt": _time(row.created_at),
        "status": shown.status,
        "tags": ungraded_index.tags_of(row),
    }


def _auto_feedback(completion: Source, info: Info) -> Source | None:
    context = info.context
    context.spend(_A_COMPLETION)
    given = feedback.find_open_proposal(context.tx, completion["id"])
    if given is None:
        return None
    return {
        **_feedback(given, feedback_tasks.get(context.tx, given.feedback.task_id)),
        "status": given.feedback.state,
    }


def _create_test_run(_root: None, info: Info, input: Source) -> Source:
    context = info.context
    check_organization(context.organization, input.get("organizationId"))
    context.spend(_A_RUN)
    name = _checked(_name, "/input/name", input["name"], context)
    row, secret = test_runs.create(context.tx, name)
    return {
        "id": row.id,
        "name": row.name,
        "reportUploadUrl": context.address + report_path(row, secret),
        "createdAt": _time(row.created_at),
        "organization": context.organization,
    }


def _feedback(given: StoredFeedback, task: FeedbackTaskRow) -> Source:
    row = given.feedback
    return {
        "id": row.id,
        "jsonValues": JsonText(row.json_values),
        "comment": row.comment,
        "createdAt": _time(row.created_at),
        "task": task,
        "completions": [{"id": id} for id in given.completion_ids],
    }


def _test(filter: str | None) -> Callable[[Any], bool] | None:
    if filter is None or not filter.strip():
        return None
    try:
        return parse_filter(filter)
    except FilterError as error:
        raise GraphQLError(
            f"The filter can't be read. {error}.", extensions={"code": "invalid_filter", "position": error.position}
        ) from None


def _at_least_one(name: str, said: int | None, default: int) -> int:
    if said is None:
        return default
    if said < 1:
        raise Invalid.at(f"/{name}", "Must be at least 1.")
    return said


def _text(name: str, said: str, context: GraphQLContext) -> str:
    """A text that the database can be asked for."""
    return _checked(_any_text, f"/{name}", said, context)


def _checked(kind: TypeAdapter[str], at: str, said: str, context: GraphQLContext) -> str:
    try:
        return kind.validate_python(said, strict=True, context=context.limits)
    except ValidationError as error:
        raise Invalid(field_errors(error, at)) from None


_any_text: TypeAdapter[str] = TypeAdapter(AnyText)
_name: TypeAdapter[str] = TypeAdapter(Name)


def _time(at: int) -> str:
    return utc(at).isoformat(timespec="microseconds")


# All other fields are members of what these give.
_RESOLVERS: dict[str, dict[str, Callable[..., Any]]] = {
    "Query": {"organization": _organization},
    "Organization": {"feedbackV2": _feedback_page, "completion": _completion},
    "Completion": {"autoFeedback": _auto_feedback},
    "Mutation": {"createTestRun": _create_test_run},
}


def _schema() -> GraphQLSchema:
    schema = build_schema(SDL)
    for type_name, resolvers in _RESOLVERS.items():
        fields = schema.type_map[type_name].fields  # type: ignore[attr-defined]
        for name, resolver in resolvers.items():
            fields[name].resolve = resolver
    return schema


SCHEMA = _schema()
