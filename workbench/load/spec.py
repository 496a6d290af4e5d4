"""A load on a serving engine: what to send, when, and what counts as answered in time."""

import json
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, knob, needed
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.load.address import Address, cleaned
from workbench.load.credentials import hide
from workbench.load.json_fields import json_file, object_of, with_secrets, without_secrets

Arrivals = Literal["constant", "poisson", "gamma", "closed", "ramp", "trace"]
SCHEMA_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
"""Values of ``type`` in a JSON schema, which may stand for a response format."""
Endpoint = Literal["completions", "chat", "responses", "embeddings"]


def image_buckets(text: str) -> list[tuple[tuple[int, int], float]]:
    """Return sizes (height and width) with their shares; raises ``InvalidSpec`` for what is not one."""
    found = []
    for part in text.split(","):
        size, _, share = part.partition(":")
        high, _, wide = size.strip().partition("x")
        try:
            weight = float(share or 1)
            found.append(((int(high), int(wide)), weight))
        except ValueError:
            weight = -1.0
        if weight <= 0 or not found or min(found[-1][0]) < 1:
            raise InvalidSpec(
                gettext("{part} is not an image size.").format(part=repr(part)),
                remedy=gettext('Give height x width and a share, such as "448x448:3,896x1344:1".'),
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec(Spec):
    """Requests to send to an OpenAI-compatible server. The same spec, seed and nonce send the same requests."""

    kind: ClassVar[str] = "load"
    command: ClassVar[str] = "load"

    url: str = needed(
        "Server",
        "Base URL of an OpenAI-compatible server, with or without /v1; a query such as ?api-version=... goes with each request, "
        "and user:password@ is sent as basic authentication and never stored.",
        suggestions=("http://localhost:8000",),
        is_argument=True,
    )
    model: str = needed("Served model name", "Name under which the server offers the model.")
    arrivals: Arrivals = knob("poisson", "Arrival process", "How the arrivals of requests are spaced.")
    rate_per_s: float = knob(
        10.0,
        "Request rate",
        "Mean request rate, and the first rate of a ramp; closed loops and traces ignore it.",
        unit="requests/s",
        option="rate",
    )
    end_rate_per_s: float | None = knob(
        None, "Last rate of a ramp", "Rate at which a ramp ends.", unit="requests/s", option="end-rate"
    )
    gamma_cv: float = knob(
        2.0, "Burstiness", "Coefficient of variation of the gaps of gamma arrivals; 1 is Poisson.", is_advanced=True
    )
    concurrency: int | None = knob(
        None, "Concurrency", "Most requests in flight, others wait at the client; in a closed loop the number of users."
    )
    duration_s: float = knob(30.0, "Duration", "Seconds during which requests are sent.", unit="s", option="duration")
    trace: str | None = knob(
        None,
        "Arrival trace",
        "Trace file of Azure, BurstGPT, Mooncake, AIPerf, guidellm, vLLM or of the workbench that is replayed; prompts share what its "
        "hash ids say.",
        is_path=True,
    )
    trace_speed: float = knob(1.0, "Trace speed-up", "Factor by which a trace is replayed faster.", is_advanced=True)
    endpoint: Endpoint = knob("completions", "Endpoint", "Interface that the requests use.")
    input_tokens: int = knob(128, "Prompt tokens", "Mean number of tokens of a prompt.")
    output_tokens: int = knob(64, "Output tokens", "Mean number of tokens of an answer.")
    input_cv: float = knob(
        0.0,
        "Spread of the prompt lengths",
        "Coefficient of variation of the log-normal prompt lengths; 0 makes them equal.",
        is_advanced=True,
    )
    output_cv: float = knob(
        0.0,
        "Spread of the answer lengths",
        "Coefficient of variation of the log-normal answer lengths; 0 makes them equal.",
        is_advanced=True,
    )
    turns: int = knob(
        1,
        "Turns of a conversation",
        "Turns of each conversation (chat only); the next is sent when the last answer has ended.",
        is_advanced=True,
    )
    timeout_s: float = knob(
        120.0,
        "Client timeout",
        "Seconds after which the client gives a request up.",
        unit="s",
        option="timeout",
        is_advanced=True,
    )
    tokenizer: str | None = knob(
        None,
        "Tokenizer",
        "Folder or file of the model's tokenizer; with it prompt lengths are exact, and tokens are counted "
        "where the server does not.",
    )
    token_ids: bool = knob(
        False,
        "Token ids",
        "Send token ids instead of text (completions, with a tokenizer): the server does not tokenize.",
        is_advanced=True,
    )
    unique_prefix: bool = knob(
        True,
        "Unique prefixes",
        "Start each prompt with words of its own, so that a prefix cache cannot answer it.",
        option="unique-prefix/shared-prefix",
    )
    n_images: int = knob(
        0, "Images", "Generated images in each request, before its text (chat only).", option="images", is_advanced=True
    )
    image_sizes: str = knob(
        "448x448",
        "Image sizes",
        "Height x width in pixels, with shares where there are several: 448x448:3,896x1344:1.",
        is_advanced=True,
    )
    image_hit_fraction: float = knob(
        0.0,
        "Repeated images",
        "Share of the images that were sent before, which a cache of images finds, from 0 to 1.",
        option="image-hits",
        is_advanced=True,
    )
    shared_prefix_tokens: int = knob(
        0,
        "Shared prefix",
        "First tokens that all prompts share, as they share a system prompt; tokens of their own follow.",
        unit="tokens",
        option="shared-tokens",
        is_advanced=True,
    )
    api_key_env: str = knob(
        "OPENAI_API_KEY",
        "Variable of the API key",
        "Environment variable with the API key, if one is needed; the key itself is never stored.",
        is_advanced=True,
    )
    api_key_header: str = knob(
        "Authorization",
        "Header of the API key",
        "Header that carries the API key, such as api-key; in any but Authorization the key stands alone, without Bearer.",
        is_advanced=True,
    )
    headers: tuple[str, ...] = knob(
        (),
        "Further headers",
        "Header to send with each request, as 'Name: value'; only its name is stored and shown.",
        option="header",
        is_repeated=True,
        is_advanced=True,
    )
    extra_body: str | None = knob(
        None,
        "Further fields",
        "JSON object of fields that are added to each request, or that replace its own.",
        is_advanced=True,
    )
    ignore_eos: bool = knob(
        True,
        "Full answers",
        "Ask for answers of the full length (ignore_eos); without it they end where the model ends them.",
        is_advanced=True,
    )
    max_tokens_field: str | None = knob(
        None,
        "Field of the answer's length",
        "Field that limits the answer, such as max_completion_tokens; found by asking the server if left out.",
        is_advanced=True,
    )
    tools: str | None = knob(
        None,
        "Tools",
        "JSON file with a list of tools that the model may call (chat); the share of valid calls is counted.",
        is_path=True,
        is_advanced=True,
    )
    response_format: str | None = knob(
        None,
        "Response format",
        "JSON file with a response_format (chat); the share of answers that keep to it is counted.",
        is_path=True,
        is_advanced=True,
    )
    insecure: bool = knob(
        False, "Any certificate", "Take any certificate of the server, also an invalid one.", is_advanced=True
    )
    ca: str | None = knob(
        None,
        "Certificate authority",
        "PEM file with the certificate of a private authority that signed the server's.",
        is_path=True,
        is_advanced=True,
    )
    nonce: int | None = knob(
        None,
        "Prompt nonce",
        "Number that decides the prompts together with the seed; drawn anew for each run if left out, so that no run finds the prompts "
        "of another in the server's cache. The result holds it.",
        low=0,
        high=2**31,
        is_advanced=True,
    )
    slo_ttft_s: float | None = knob(
        None,
        "SLO: TTFT",
        "Longest time to the first token, from when the request is due, that meets the SLO.",
        unit="s",
        option="slo-ttft",
    )
    slo_tpot_s: float | None = knob(
        None, "SLO: TPOT", "Longest time per output token that meets the SLO.", unit="s", option="slo-tpot"
    )
    calibrate: bool = knob(
        True,
        "Calibration",
        "Send a short load of the same rate to the built-in mock server first, to learn what the client itself adds.",
    )
    telemetry_hz: float = knob(
        0.0,
        "Telemetry",
        "Samples per second of this machine, its GPUs and the server's counters in the load; 0 takes none. "
        "They describe the server only where it runs on this machine.",
        unit="samples/s",
    )
    server_pid: int | None = knob(
        None,
        "Server process",
        "Process id of the server on this machine; the one that listens on the URL's port if left out.",
        is_advanced=True,
    )
    probe: bool = knob(
        False,
        "Probe",
        "Ask a few fixed questions before the load: how fast the server is alone, and if it still answers the same.",
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        self._hide_credentials()
        require_positive(
            self, "rate_per_s", "gamma_cv", "duration_s", "input_tokens", "output_tokens", "turns", "timeout_s"
        )
        require_positive(self, "trace_speed")
        if not 0 <= self.shared_prefix_tokens < self.input_tokens:
            raise InvalidSpec(
                gettext("shared_prefix_tokens is {n} of {total}.").format(
                    n=self.shared_prefix_tokens, total=self.input_tokens
                ),
                remedy=gettext("Give 0 or more, and fewer than input_tokens."),
            )
        if self.telemetry_hz and not 0.1 <= self.telemetry_hz <= 50:
            raise InvalidSpec(
                gettext("telemetry_hz is {rate}.").format(rate=self.telemetry_hz),
                remedy=gettext("Give 0.1 to 50, or 0 for none."),
            )
        for name, allowed in (("arrivals", get_args(Arrivals)), ("endpoint", get_args(Endpoint))):
            if getattr(self, name) not in allowed:
                raise InvalidSpec(
                    gettext("{place} is {value}.").format(place=name, value=repr(getattr(self, name))),
                    remedy=gettext("Choose from: {names}.").format(names=", ".join(allowed)),
                )
        needed = {"closed": "concurrency", "ramp": "end_rate_per_s", "trace": "trace"}.get(self.arrivals)
        if needed and getattr(self, needed) is None:
            raise InvalidSpec(
                gettext("Arrivals {arrivals} need {needed}.").format(arrivals=repr(self.arrivals), needed=needed),
                remedy=gettext("Set {needed}.").format(needed=needed),
            )
        if self.concurrency is not None and self.concurrency < 1:
            raise InvalidSpec(
                gettext("concurrency is {n}.").format(n=self.concurrency),
                remedy=gettext("Give a number above zero, or none."),
            )
        if self.token_ids and (self.endpoint != "completions" or self.tokenizer is None):
            raise InvalidSpec(
                gettext("Token ids need the completions endpoint and a tokenizer."),
                remedy=gettext("Name the model's folder as tokenizer."),
            )
        self._check_images()
        self._check_structure()
        if self.turns > 1 and self.endpoint != "chat":
            raise InvalidSpec(gettext("Several turns need the chat endpoint."), remedy=gettext('Set endpoint="chat".'))

    def _hide_credentials(self) -> None:
        """Take password, secret values of the query, values of headers and secret fields out of the spec; requests look them up."""
        names = []
        for header in self.headers:
            name, colon, value = header.partition(":")
            if not name.strip() or any(c in name.strip() for c in ' "(),/;<=>?@[]{}\t\r\n\\'):
                raise InvalidSpec(
                    gettext("A header has no name that HTTP knows."), remedy=gettext("Give it as 'Name: value'.")
                )
            if colon:
                hide(f"header {name.strip().lower()}", value.strip())
            names.append(name.strip())
        object.__setattr__(self, "headers", tuple(names))
        object.__setattr__(self, "url", cleaned(self.url))
        if self.extra_body is not None:
            object.__setattr__(self, "extra_body", json.dumps(without_secrets(object_of(self.extra_body), "body")))

    def _check_structure(self) -> None:
        if self.is_structured and self.endpoint != "chat":
            raise InvalidSpec(
                gettext("Tools and response formats need the chat endpoint."), remedy=gettext("Use --endpoint chat.")
            )
        self.structure_fields()
        if self.endpoint == "embeddings" and (self.turns > 1 or self.token_ids):
            raise InvalidSpec(
                gettext("Embeddings are asked for by single texts."), remedy=gettext("Use one turn, and no token ids.")
            )

    def _check_images(self) -> None:
        image_buckets(self.image_sizes)
        if self.n_images < 0 or not 0 <= self.image_hit_fraction <= 1:
            raise InvalidSpec(
                gettext("n_images is {n} and image_hit_fraction {share}.").format(
                    n=self.n_images, share=self.image_hit_fraction
                ),
                remedy=gettext("Give a number of images, and a share between 0 and 1."),
            )
        if self.n_images and self.endpoint != "chat":
            raise InvalidSpec(gettext("Images need the chat endpoint."), remedy=gettext('Set endpoint="chat".'))

    @property
    def base_url(self) -> str:
        """Return the URL without query and up to ``/v1``."""
        address = Address.of(self.url)
        return address.origin + address.root

    @property
    def is_structured(self) -> bool:
        """Return whether answers are calls or keep to a format, and end where these do."""
        return self.tools is not None or self.response_format is not None

    def structure_fields(self) -> dict[str, object]:
        """Return the fields that ask for calls or for a format; raises ``InvalidSpec`` for files without them."""
        fields: dict[str, object] = {}
        if self.tools is not None:
            tools = json_file(self.tools, gettext("tools"))
            fields["tools"] = tools.get("tools") if isinstance(tools, dict) else tools
            if not isinstance(fields["tools"], list) or not all(isinstance(t, dict) for t in fields["tools"]):
                raise InvalidSpec(
                    gettext("{file} holds no list of tools.").format(file=self.tools),
                    remedy=gettext('Give [{"type": "function", ...}].'),
                )
        if self.response_format is not None:
            wanted = json_file(self.response_format, gettext("response format"))
            if not isinstance(wanted, dict):
                raise InvalidSpec(
                    gettext("{file} holds no object.").format(file=self.response_format),
                    remedy=gettext('Give {"type": "json_schema", "json_schema": {...}}.'),
                )
            is_schema = wanted.get("type", "object") in SCHEMA_TYPES
            named = {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted}}
            fields["response_format"] = named if is_schema else wanted
        return fields

    def extra_fields(self) -> dict[str, object]:
        """Return the further fields of each request, with their secret values."""
        found = {} if self.extra_body is None else with_secrets(object_of(self.extra_body), "body")
        return found if isinstance(found, dict) else {}
