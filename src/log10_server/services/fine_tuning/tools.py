"""Reads the tools that a request offers, in the format of each provider."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from log10_server.services.fine_tuning.conversation import Reason, UntranslatableError, function_name

_COHERE_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object"}


class Tools(NamedTuple):
    """Functions in OpenAI's format, and whether the request also offers tools that this format can't hold."""

    functions: list[dict[str, Any]]
    has_other_tools: bool


def read_tools(request: Mapping[str, Any]) -> Tools:
    """Return the tools of a request. `functions`, the older form, is read too.

    A tool that is not a function, such as a web search that the provider runs, is left out of the row. If the model
    used such a tool, the messages contain its calls, and the code that reads them refuses the completion. Raises
    UntranslatableError for a function that OpenAI's format can't describe.
    """
    functions: list[dict[str, Any]] = []
    has_other_tools = False
    for tool in _offered(request):
        described = list(_functions_of(tool))
        functions += described
        has_other_tools |= not described or _has_other_gemini_tools(tool)
    return Tools(functions, has_other_tools)


def _offered(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in (request, request.get("config"), request.get("toolConfig")):
        if not isinstance(holder, dict):
            continue
        for name in ("tools", "functions"):
            tools = holder.get(name)
            for tool in [] if tools is None else tools if isinstance(tools, list) else [tools]:
                if not isinstance(tool, dict):
                    raise UntranslatableError(Reason.INVALID_TOOL)
                if set(tool) != {"cachePoint"}:
                    yield tool


def _functions_of(tool: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the functions that a tool describes. The list is empty for other kinds of tools."""
    kind = tool.get("type")
    declarations = tool.get("functionDeclarations", tool.get("function_declarations"))
    if isinstance(declarations, list):
        for declaration in declarations:
            yield _gemini_function(declaration)
    elif isinstance(specification := tool.get("toolSpec"), dict):
        schema = specification.get("inputSchema")
        yield _function(specification, schema.get("json") if isinstance(schema, dict) else None)
    elif kind not in (None, "", "function", "custom"):
        return
    elif isinstance(function := tool.get("function"), dict):
        yield _function(function, function.get("parameters"))
    elif "input_schema" in tool:
        yield _function(tool, tool["input_schema"])
    elif kind == "custom":
        return
    elif isinstance(definitions := tool.get("parameter_definitions"), dict):
        yield _function(tool, _cohere_parameters(definitions))
    elif "name" in tool:
        yield _function(tool, tool.get("parameters"))
    elif kind is not None:
        raise UntranslatableError(Reason.INVALID_TOOL)


def _has_other_gemini_tools(tool: Mapping[str, Any]) -> bool:
    names = {name for name, member in tool.items() if member is not None}
    declared = names & {"functionDeclarations", "function_declarations"}
    return bool(declared) and names != declared


def _function(function: Mapping[str, Any], parameters: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"name": function_name(function.get("name"))}
    if isinstance(description := function.get("description"), str):
        described["description"] = description
    if isinstance(parameters, dict):
        described["parameters"] = parameters
    elif parameters is not None:
        raise UntranslatableError(Reason.INVALID_TOOL)
    if isinstance(strict := function.get("strict"), bool):
        described["strict"] = strict
    return {"type": "function", "function": described}


def _gemini_function(declaration: Any) -> dict[str, Any]:
    if not isinstance(declaration, dict):
        raise UntranslatableError(Reason.INVALID_TOOL)
    for name in ("parametersJsonSchema", "parameters_json_schema"):
        if declaration.get(name) is not None:
            return _function(declaration, declaration[name])
    return _function(declaration, _json_schema(declaration.get("parameters")))


def _json_schema(schema: Any) -> Any:
    """Convert Gemini's `Schema` to JSON Schema.

    Gemini writes types in capital letters, and its Python library writes members that are not set as null.
    """
    if not isinstance(schema, dict):
        return schema
    translated = {name: member for name, member in schema.items() if member is not None}
    kind = translated.get("type")
    if isinstance(kind, str):
        nullable = translated.pop("nullable", None) is True
        translated["type"] = [kind.lower(), "null"] if nullable else kind.lower()
    if isinstance(properties := translated.get("properties"), dict):
        translated["properties"] = {name: _json_schema(member) for name, member in properties.items()}
    if "items" in translated:
        translated["items"] = _json_schema(translated["items"])
    for name in ("anyOf", "any_of"):
        if isinstance(branches := translated.pop(name, None), list):
            translated["anyOf"] = [_json_schema(branch) for branch in branches]
    return translated


def _cohere_parameters(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the parameters of a tool of Cohere's first API to JSON Schema.

    Cohere describes each parameter by a Python type, a description, and whether it is required.
    """
    properties: dict[str, Any] = {}
    for name, definition in definitions.items():
        if not isinstance(definition, dict):
            raise UntranslatableError(Reason.INVALID_TOOL)
        kind, description = definition.get("type"), definition.get("description")
        properties[name] = {
            **({"type": _COHERE_TYPES[kind]} if isinstance(kind, str) and kind in _COHERE_TYPES else {}),
            **({"description": description} if isinstance(description, str) else {}),
        }
    required = [name for name, definition in definitions.items() if definition.get("required") is True]
    return {"type": "object", "properties": properties, "required": required}
