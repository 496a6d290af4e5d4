"""What can be asked of structured output: a schema or tools, the prompts, and who answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from workbench.catalog.models import require_folder
from workbench.catalog.paths import located
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec, first_line, system_message
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, advanced, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.engines.serving import NAMES
from workbench.estimate.knobs import offered_model
from workbench.load.address import cleaned

SAMPLE = "data/text/ticket_schema.json"
BACKENDS = {
    "auto": "vLLM's choice",
    "xgrammar": "XGrammar",
    "guidance": "llguidance",
    "outlines": "Outlines",
    "lm-format-enforcer": "lm-format-enforcer",
}
KEYWORDS = {"type", "properties", "items", "prefixItems", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}
"""A JSON schema without any of these says nothing of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredSpec(Spec):
    """Answers of a schema against plain ones, paired in rounds. The same spec on the same machine is the same measurement."""

    kind: ClassVar[str] = "structured"
    command: ClassVar[str] = "structured"

    model: str = offered_model("Model", "Folder of a causal language model with weights.")
    schema: str = knob(
        SAMPLE,
        "Schema",
        "JSON file with a schema, a response_format, or a list of tools, of which a call is then forced.",
        suggestions=(SAMPLE,),
        is_path=True,
    )
    prompts: str | None = knob(
        None, "Own prompts", "UTF-8 file with one prompt a line; random words if left out.", is_path=True
    )
    engine: str = knob("vllm", "Engine", "Who answers; only vLLM has a grammar.", choices=NAMES)
    backend: str = knob(
        "auto", "Grammar backend", "Value of vLLM's --structured-outputs-config.backend.", choices=BACKENDS
    )
    url: str | None = knob(None, "Running server", "URL of a server that runs already, which is asked instead.")
    served_model: str | None = advanced(
        None, "Served model name", "Name under which a running server offers the model; its only one if left out."
    )
    rate_per_s: float = advanced(
        4.0, "Request rate", "Mean request rate of each load.", unit="requests/s", option="rate"
    )
    n_requests: int = advanced(24, "Requests", "Requests of each load.", low=4, option="requests")
    input_tokens: int = advanced(64, "Prompt tokens", "Tokens of each prompt of random words.", low=1)
    output_tokens: int = advanced(96, "Output tokens", "Most tokens of an answer, of both kinds.", low=2)
    rounds: int = advanced(
        6, "Rounds", "Times that both kinds are asked, one after the other, in an order drawn anew.", low=3, high=1000
    )
    device: DeviceChoice = "auto"
    random_weights: RandomWeights = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_known(gettext("engines"), (self.engine,), NAMES)
        require_known(gettext("grammar backends"), (self.backend,), BACKENDS)
        require_positive(self, "rate_per_s", "n_requests", "input_tokens", "output_tokens")
        if self.rounds < 3:
            raise InvalidSpec(
                gettext("{n} rounds show no spread.").format(n=self.rounds), remedy=gettext("Give 3 or more.")
            )
        if self.url is not None:
            object.__setattr__(self, "url", cleaned(self.url))


def check_structured(spec: StructuredSpec) -> None:
    """Raise for a model that is none, and ``InvalidSpec`` for a file that holds no schema."""
    if spec.url is None:
        require_folder(spec.model)
    schema_of(spec.schema)


def schema_of(path: str) -> dict[str, Any]:
    """Return the JSON schema of a file: its own, that of a response_format, or that of a forced call of tools.

    Raises:
        InvalidSpec: The file cannot be read, or holds none of these.
    """
    try:
        found = json.loads(Path(located(path)).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSpec(
            gettext("The schema {path} cannot be read: {error}.").format(path=path, error=system_message(error)),
            remedy=gettext("Name a JSON file."),
        ) from error
    tools = found.get("tools") if isinstance(found, Mapping) else found
    if isinstance(tools, list):
        schema: object = _call_schema(tools, path)
    elif isinstance(found, Mapping):
        inner = found.get("json_schema", found)
        schema = inner.get("schema", inner) if isinstance(inner, Mapping) else inner
    else:
        schema = found
    if not isinstance(schema, Mapping) or not KEYWORDS & set(schema):
        raise InvalidSpec(
            gettext("{path} holds no JSON schema.").format(path=path),
            remedy=gettext('Give one such as {"type": "object", "properties": {...}}.'),
        )
    return _checked(dict(schema), path)


def _checked(schema: dict[str, Any], path: str) -> dict[str, Any]:
    import jsonschema  # takes seconds, and most commands do not need it

    try:
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise InvalidSpec(
            gettext("{path} is no JSON schema: {error}.").format(path=path, error=first_line(error)),
            remedy=gettext("Correct it."),
        ) from error
    return schema


def _call_schema(tools: list[object], path: str) -> dict[str, object]:
    """Return the schema that vLLM holds answers to where a call is required: a list of calls by name with arguments."""
    calls = []
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not function.get("name"):
            raise InvalidSpec(
                gettext("{path} holds a tool without a name.").format(path=path),
                remedy=gettext('Give [{"type": "function", ...}].'),
            )
        name, arguments = {"enum": [function["name"]]}, function.get("parameters") or {"type": "object"}
        calls.append(
            {
                "type": "object",
                "properties": {"name": name, "parameters": arguments},
                "required": ["name", "parameters"],
            }
        )
    if not calls:
        raise InvalidSpec(
            gettext("{path} holds no tools.").format(path=path), remedy=gettext('Give [{"type": "function", ...}].')
        )
    return {"type": "array", "minItems": 1, "items": {"anyOf": calls}}
