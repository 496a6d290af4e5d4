"""Whether answers keep to the form that was asked for: calls of known tools with arguments that fit, or a response format."""

import json
from collections.abc import Mapping

from workbench.load.messages import SentRequest
from workbench.load.spec import LoadSpec


def is_valid(spec: LoadSpec, request: SentRequest) -> bool:
    """Return whether an answer has the form that its request asked for.

    With tools: it calls at least one, by a known name, with arguments of the tool's schema. With a response format: its text is JSON,
    and of the format's schema where there is one. With both, one of the two is enough.
    """
    fields = spec.structure_fields()
    tools, wanted = fields.get("tools"), fields.get("response_format")
    if isinstance(tools, list) and request.calls:
        known = {name: schema for name, schema in map(_tool, tools) if name}
        return all(c.name in known and fits(c.arguments or "{}", known[c.name]) for c in request.calls)
    if isinstance(wanted, Mapping):
        if wanted.get("type") == "text":
            return bool(request.answer)
        inner = wanted.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, Mapping) else wanted.get("schema")
        return fits(request.answer or "", schema)
    return False


def _tool(tool: Mapping[str, object]) -> tuple[str, object]:
    function = tool.get("function", tool)
    if not isinstance(function, Mapping):
        return "", None
    return str(function.get("name") or ""), function.get("parameters")


def fits(text: str, schema: object) -> bool:
    """Return whether a text is JSON, and of a schema where there is one."""
    import jsonschema  # takes seconds, and few loads need it

    try:
        value = json.loads(text)
        if isinstance(schema, Mapping):
            jsonschema.validate(value, dict(schema))
    except (ValueError, jsonschema.ValidationError, jsonschema.SchemaError):
        return False
    return True
