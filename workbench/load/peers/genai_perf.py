"""genai-perf: every response with its time in perf_analyzer's ``profile_export.json``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from workbench.core.errors import StoreError
from workbench.load.peers.documents import documents_in
from workbench.load.peers.result import (
    NOT_RECORDED,
    PeerResult,
    converted,
    error_text,
    names,
    settings,
    utc,
    with_streaming,
)
from workbench.load.request_record import RequestRecord

TOOL = "genai-perf"
REQUESTS, TOTALS_END = "profile_export.json", "_genai_perf"
COMPLETE = f"Name {REQUESTS} of the same folder of artifacts; genai-perf profile writes it with --profile-export-file."


class _Inputs(msgspec.Struct, kw_only=True):
    payload: str | dict[str, object] | list[object] | None = None


class _Output(msgspec.Struct, kw_only=True):
    response: str = ""


class _Request(msgspec.Struct, kw_only=True):
    timestamp: int
    request_inputs: _Inputs = msgspec.field(default_factory=_Inputs)
    response_timestamps: list[int] = msgspec.field(default_factory=list)
    response_outputs: list[_Output] = msgspec.field(default_factory=list)


class _Level(msgspec.Struct, kw_only=True):
    mode: str | None = None
    value: float | None = None


class _Experiment(msgspec.Struct, kw_only=True):
    experiment: _Level = msgspec.field(default_factory=_Level)
    requests: list[_Request] = msgspec.field(default_factory=list)


class _Profile(msgspec.Struct, kw_only=True):
    service_kind: str = ""
    endpoint: str = ""
    experiments: list[_Experiment] = msgspec.field(default_factory=list)


class _Delta(msgspec.Struct, kw_only=True):
    content: object = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[object] | None = None


class _Choice(msgspec.Struct, kw_only=True):
    text: str | None = None
    delta: _Delta | None = None
    message: _Delta | None = None


class _Usage(msgspec.Struct, kw_only=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Event(msgspec.Struct, kw_only=True):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    text_output: str | None = None
    generated_text: str | None = None
    usage: _Usage | None = None
    error: object = None


class _Asked(msgspec.Struct, kw_only=True):
    model: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None


def is_genai_perf(document: object) -> bool:
    """Return whether perf_analyzer wrote a document."""
    return names(document) >= {"service_kind", "experiments"}


def is_genai_perf_totals(document: object, path: Path) -> bool:
    """Return whether a document is the file of totals that genai-perf makes of it."""
    return path.stem.endswith(TOTALS_END) and bool(names(document) & {"request_throughput", "request_latency"})


def read_genai_perf_totals(path: Path) -> tuple[PeerResult, ...]:
    """Return the loads whose totals a file holds, from the requests beside it.

    Raises:
        StoreError: There are none.
    """
    file = path.with_name(path.stem.removesuffix(TOTALS_END) + ".json")
    found = documents_in(file) if file.exists() else None
    if not found or not is_genai_perf(found[0]):
        raise StoreError(f"{path.name} holds totals only, and {file.name} is not beside it.", remedy=COMPLETE)
    return read_genai_perf(found[0])


def read_genai_perf(document: object) -> tuple[PeerResult, ...]:
    """Return each experiment of a document.

    A response counts as tokens where it holds text; tokens are the server's usage where it is there, else one a
    response. The file has no request that failed before a response.

    Raises:
        StoreError: No requests, or what it holds are not answers of a language model.
    """
    profile = converted(document, _Profile, TOOL)
    experiments = [e for e in profile.experiments if e.requests]
    if not experiments:
        raise StoreError("The file holds no requests.", remedy="Run genai-perf profile again, with more requests.")
    if profile.service_kind not in {"openai", "triton", "dynamic_grpc"} or "embedding" in profile.endpoint:
        cause = (
            f"The file holds requests to {profile.endpoint or profile.service_kind}, not answers of a language model."
        )
        raise StoreError(cause, remedy="Run genai-perf profile with --endpoint-type chat or completions.")
    return tuple(_result(e) for e in experiments)


def _result(experiment: _Experiment) -> PeerResult:
    requests = sorted(experiment.requests, key=lambda r: r.timestamp)
    start, asked = requests[0].timestamp, [_asked(r) for r in requests]
    answers = [[_event(o.response) for o in r.response_outputs] for r in requests]
    has_text = any(_text(e) for answer in answers for event in answer for e in event)
    records = tuple(
        _record(r, a, q, i, start, has_text=has_text)
        for i, (r, a, q) in enumerate(zip(requests, answers, asked, strict=True))
    )
    records, lacks = with_streaming(records, TOOL, "with --streaming")
    level = experiment.experiment
    return PeerResult(
        tool=TOOL,
        model=next((a.model for a in asked if a.model), None) or NOT_RECORDED,
        date=utc(start / 1e9),
        records=records,
        settings=settings(**{level.mode or "load": level.value}),
        lacks=lacks,
    )


def _asked(request: _Request) -> _Asked:
    payload = request.request_inputs.payload
    try:
        if isinstance(payload, str):
            return msgspec.json.decode(payload, type=_Asked, strict=False)
        return msgspec.convert(payload, _Asked, strict=False) if isinstance(payload, Mapping) else _Asked()
    except msgspec.MsgspecError:
        return _Asked()


def _event(response: str) -> list[_Event]:
    """Return the events of one response; several of a stream can have come together."""
    events = []
    for part in response.strip().split("\n\n"):
        data = "".join(line.partition(":")[2] if line.startswith("data:") else line for line in part.splitlines())
        try:
            events.append(msgspec.json.decode(data.strip(), type=_Event, strict=False))
        except msgspec.DecodeError:
            continue
    return events


def _text(event: _Event) -> bool:
    """Return whether an event holds text, reasoning or a tool call."""
    if event.text_output or event.generated_text:
        return True
    parts = (part for c in event.choices for part in (c.delta, c.message) if part)
    return any(c.text for c in event.choices) or any(
        p.content or p.reasoning_content or p.reasoning or p.tool_calls for p in parts
    )


def _record(
    request: _Request, answer: Sequence[list[_Event]], asked: _Asked, index: int, start_ns: int, *, has_text: bool
) -> RequestRecord:
    sent, times = (request.timestamp - start_ns) / 1e9, [(t - start_ns) / 1e9 for t in request.response_timestamps]
    events = [e for group in answer for e in group]
    error = next((e.error for e in events if e.error), None)
    usage = next((e.usage for e in reversed(events) if e.usage), None) or _Usage()
    streamed = asked.stream if asked.stream is not None else len(times) > 1
    # Where no response holds text, as in files without answers, each response counts.
    counted = [any(map(_text, group)) for group in answer] if has_text else [True] * len(times)
    arrivals = tuple(t for t, holds in zip(times, counted, strict=False) if holds)
    n_output = usage.completion_tokens or len(arrivals)
    failure = error_text(str(error), otherwise=NOT_RECORDED) if error else None if arrivals else "no token came"
    return RequestRecord(
        index=index,
        due_s=sent,
        sent_s=sent,
        input_tokens=usage.prompt_tokens or 0,
        max_output_tokens=asked.max_completion_tokens or asked.max_tokens or n_output,
        chunk_s=arrivals if streamed and not failure else (),
        first_event_s=times[0] if times and streamed else None,
        end_s=times[-1] if times else sent,
        output_tokens=n_output,
        token_source="usage" if usage.completion_tokens else "chunks",
        usage_input_tokens=usage.prompt_tokens,
        error=failure,
        is_streamed=streamed or failure is not None,
    )
