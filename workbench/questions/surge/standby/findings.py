"""What a run of replicas in reserve says: how soon one answers out of each state, and what it holds while it waits."""

import shlex
from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path

from workbench.catalog.models import is_only_a_shape
from workbench.core.columns import Columns
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.stored_texts import in_readers_words
from workbench.core.units import NOT_KNOWN, shown_bytes, shown_duration
from workbench.core.verdict import Verdict, objections
from workbench.engines.serving import NAMES as ENGINES
from workbench.engines.sleep_mode import SLEEP_FLAGS
from workbench.measuring.machine import busy_text
from workbench.questions.surge.standby.rows import NO_SLEEP, WARM, ColdStart, StandbyState, State
from workbench.questions.surge.standby.spec import StandbySpec

NAMES: Mapping[State, str] = {
    "cold-first": gettext("first cold start"),
    "cold": gettext("later cold starts"),
    "idle": gettext("idle"),
    "sleep-1": gettext("asleep, level 1"),
    "sleep-2": gettext("asleep, level 2"),
}


def times(run: Run) -> dict[State, StandbyState]:
    """Return the states with a time, in the order of the run."""
    return {r.state: r for r in run.rows(StandbyState) if r.first_token_s is not None}


def cold_of(states: Mapping[State, StandbyState]) -> StandbyState:
    """Return what stands for a cold start: one that finds compiled code, where such a one was measured."""
    return states.get("cold") or states["cold-first"]


def shown_time(row: StandbyState) -> str:
    """Return the median time to the first token with the least and the most of the repeats."""
    if row.first_token_s is None:
        return NOT_KNOWN
    if row.n == 1:
        return shown_duration(row.first_token_s)
    return f"{shown_duration(row.first_token_s)} [{shown_duration(row.least_s)}, {shown_duration(row.most_s)}]"


def verdict(run: Run) -> Verdict:
    """Return how soon a sleeping, an idle and a cold replica answer, and what speaks against it."""
    states = times(run)
    cold, idle = cold_of(states), states["idle"]
    asleep = [states[s] for s in WARM if s != "idle" and s in states]
    wrong = [NAMES[s] for s, r in states.items() if r.is_same_answer is False]
    said = {"idle": shown_duration(idle.first_token_s), "cold": shown_duration(cold.first_token_s)}
    right = [r for r in asleep if r.is_same_answer]
    if right:
        headline = gettext(
            "A sleeping replica answers after {asleep}, an idle one after {idle}, a cold one after {cold}."
        )
        said["asleep"] = shown_duration(right[0].first_token_s)
    elif asleep:
        headline = gettext(
            "A replica that was woken gives other answers than before; an idle one answers after {idle}, a cold one after {cold}."
        )
    else:
        headline = gettext("An idle replica answers after {idle}, a cold one after {cold}; none could sleep here.")
    return Verdict(
        headline=headline.format(**said),
        evidence=gettext(
            "Medians [minimum, maximum] from the decision to the first token: {states}. Memory held while waiting: {memory}."
        ).format(
            states=gettext("; ").join(f"{NAMES[s]} {shown_time(r)}" for s, r in states.items()),
            memory=gettext("; ").join(f"{NAMES[r.state]} {_held(r)}" for r in (idle, *asleep)),
        ),
        objection=_objection(run, states, wrong),
        scope=gettext(
            "Each request goes through a running gateway, which is given the replica at the decision. A cold start is that of the process on a machine that is there: no machine is booked, no image is fetched, and the files may lie in the system's cache; vLLM compiles at the first one what the later ones find compiled."
        ),
        answer="no" if wrong else "yes",
    )


def _held(row: StandbyState) -> str:
    host = gettext("{memory} of the host").format(memory=shown_bytes(row.host_bytes))
    if row.device_bytes is None:
        return host
    return gettext("{memory} of the device and {host}").format(memory=shown_bytes(row.device_bytes), host=host)


def _objection(run: Run, states: Mapping[State, StandbyState], wrong: Iterable[str]) -> str | None:
    spec, points = run.asked(StandbySpec), []
    points += [
        gettext("answers out of the state “{state}” differ from that of the first start").format(state=w) for w in wrong
    ]
    left_out: dict[str, list[str]] = {}
    for row in run.rows(StandbyState):
        if row.reason is not None:
            left_out.setdefault(shown_reason(row).rstrip("."), []).append(NAMES[row.state])
    points += [
        gettext("without “{states}”: {reason}").format(states=gettext("”, “").join(names), reason=reason)
        for reason, names in left_out.items()
    ]
    if spec.has_dummy_weights:
        points.append(gettext("the weights are dummies, which no cold start reads from a file"))
    if cold_of(states).n < 2:
        points.append(gettext("a single cold start shows no spread: give more with --cold"))
    if busy := busy_text(run.environment.other_load_fraction):
        points.append(busy)
    return objections(points, most=4)


def shown_reason(row: StandbyState) -> str:
    """Return why a state has no time, in the reader's language."""
    return in_readers_words(row.reason or "", NO_SLEEP)


def shown_same(row: StandbyState) -> str:
    """Return whether the first answers were those of before."""
    if row.is_same_answer is None:
        return NOT_KNOWN
    return gettext("yes") if row.is_same_answer else gettext("no")


COLUMNS: Columns[StandbyState] = {
    gettext("State of the replica ●"): lambda r: NAMES[r.state],
    gettext("decision to first token"): shown_time,
    gettext("n"): lambda r: str(r.n),
    gettext("device memory"): lambda r: NOT_KNOWN if r.device_bytes is None else shown_bytes(r.device_bytes),
    gettext("host memory"): lambda r: shown_bytes(r.host_bytes),
    gettext("same answer"): shown_same,
    gettext("why left out"): shown_reason,
}
PART_COLUMNS: Columns[StandbyState] = {
    gettext("State of the replica ●"): lambda r: NAMES[r.state],
    gettext("launch or waking"): lambda r: NOT_KNOWN if r.state == "idle" else shown_duration(r.ready_s),
    gettext("gateway"): lambda r: shown_duration(r.gateway_s),
    gettext("TTFT"): lambda r: shown_duration(r.ttft_s),
    gettext("time to fall asleep"): lambda r: shown_duration(r.asleep_s),
    gettext("growth of the host memory in use"): lambda r: (
        NOT_KNOWN if r.device_bytes is None else shown_bytes(r.machine_bytes)
    ),
}


START_COLUMNS: Columns[tuple[int, ColdStart]] = {
    gettext("Cold start ●"): lambda r: str(r[0]),
    gettext("launch"): lambda r: shown_duration(r[1].launch_s),
    gettext("reading weights"): lambda r: shown_duration(r[1].weights_s),
    gettext("preparing the engine"): lambda r: shown_duration(r[1].engine_s),
    gettext("of it compiling"): lambda r: shown_duration(r[1].compiling_s),
    gettext("of it CUDA graphs"): lambda r: shown_duration(r[1].graphs_s),
    gettext("the rest: processes, imports"): lambda r: shown_duration(rest_s(r[1])),
}


def starts(run: Run) -> list[tuple[int, ColdStart]]:
    """Return the cold starts with their numbers."""
    return list(enumerate(run.rows(ColdStart), 1))


def rest_s(start: ColdStart) -> float | None:
    """Return the time of a launch that its log gives to neither the weights nor the engine; None where it says nothing of them."""
    if start.weights_s is None or start.engine_s is None:
        return None
    return start.launch_s - start.weights_s - start.engine_s


def for_the_simulation(run: Run) -> str:
    """Return the command that simulates autoscaling with the measured start of a replica."""
    return f"workbench scaling --start-s {start_s(run):g}"


def start_s(run: Run) -> float:
    """Return the start-up time of a replica for the simulation, in whole seconds: that of a later cold start, else of the first."""
    return float(max(1, ceil(cold_of(times(run)).first_token_s or 1.0)))


def measured_starts(runs: Iterable[Run]) -> str:
    """Return from which measured runs the start-up time of a replica could be taken, the newest of each model and device."""
    newest: dict[tuple[str | None, str], Run] = {}
    for run in runs:
        if "cold-first" in times(run) or "cold" in times(run):
            newest.setdefault((run.model, run.environment.device), run)
    if not newest:
        return gettext("No run has measured the start of a replica: `workbench standby MODEL` does.")
    starts = (
        gettext("{start} for {model} on {device} (run {run})").format(
            start=f"{start_s(run):g} s", model=Path(model or "").name, device=device, run=run.id
        )
        for (model, device), run in newest.items()
    )
    return gettext("Start-up times of replicas that `workbench standby` measured, for --start-s: {starts}.").format(
        starts=gettext("; ").join(starts)
    )


def commands(run: Run) -> str:
    """Return how a vLLM server is launched that can sleep, put to sleep and woken."""
    spec = run.asked(StandbySpec)
    flags = shlex.join((*SLEEP_FLAGS, *spec.flags))
    lines = (
        f"VLLM_SERVER_DEV_MODE=1 vllm serve {shlex.quote(spec.model)} {flags}",
        "curl -X POST 'http://localhost:8000/sleep?level=1'",
        "curl -X POST http://localhost:8000/wake_up",
        gettext("# level 2 forgets the weights, and reads them again:"),
        "curl -X POST 'http://localhost:8000/sleep?level=2'",
        "curl -X POST 'http://localhost:8000/wake_up?tags=weights'",
        "curl -X POST http://localhost:8000/collective_rpc -H 'Content-Type: application/json' -d '{\"method\": \"reload_weights\"}'",
        "curl -X POST 'http://localhost:8000/wake_up?tags=kv_cache'",
        "curl -X POST http://localhost:8000/reset_prefix_cache",
        gettext(
            "# these endpoints ask for no key: no client may reach the server itself, only a gateway, which does not pass them on"
        ),
    )
    return "\n".join(lines)


def about(run: Run) -> str:
    """Return what the numbers are of."""
    spec = run.asked(StandbySpec)
    weights = gettext(", random weights") if spec.random_weights or is_only_a_shape(spec.model) else ""
    return gettext(
        "{model}{weights}, {engine}, {n_in} tokens in, {wait} s of waiting · {device}, run {run}, {day}"
    ).format(
        model=spec.model,
        weights=weights,
        engine=f"{ENGINES[spec.engine]} {run.environment.packages.get(spec.engine, '')}".strip(),
        n_in=spec.input_tokens,
        wait=f"{spec.wait_s:g}",
        device=run.environment.device,
        run=run.id,
        day=run.day,
    )
