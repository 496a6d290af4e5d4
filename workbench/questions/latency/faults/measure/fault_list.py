"""The faults that can be injected on one machine, each with its true cause and its doses; and healthy changes."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from workbench.apparatus.network_proxy import Way
from workbench.core.language import gettext_noop
from workbench.load.spec import LoadSpec
from workbench.questions.latency.faults.measure import fault_making as making
from workbench.questions.latency.faults.measure.fault_making import Change, D, Dose, Fault, ServerOptions
from workbench.questions.latency.faults.spec import FaultEngine

LOW, HIGH = gettext_noop("low"), gettext_noop("high")


def _dose(begin: Change[D], value: D, options: ServerOptions | None = None) -> Dose:
    return Dose(begin=lambda stage: begin(stage, value), options=options)


def _fault(
    name: str,
    cause: str,
    begin: Change[D],
    *,
    low: D,
    high: D,
    why_not: Callable[[bool], str | None] = lambda _: None,
) -> Fault:
    return Fault(name=name, cause=cause, doses={LOW: _dose(begin, low), HIGH: _dose(begin, high)}, why_not=why_not)


def _by_server(
    name: str,
    cause: str,
    options: Callable[[D], ServerOptions],
    *,
    low: D,
    high: D,
    begin: Change[D] = making.send_healthy_load,
    engines: tuple[str, ...] = get_args(FaultEngine),
    busy: float = 1.0,
) -> Fault:
    """Return a fault that an engine has when its server is started with other options."""
    doses = {dose: _dose(begin, value, options(value)) for dose, value in ((LOW, low), (HIGH, high))}
    return Fault(name=name, cause=cause, doses=doses, engines=engines, busy=busy)


HEALTHY_CHANGES: dict[str, Callable[[LoadSpec], LoadSpec]] = {
    gettext_noop("same"): lambda load: load,
    gettext_noop("same again"): lambda load: load,
    gettext_noop("a sixth more requests"): lambda load: replace(load, rate_per_s=load.rate_per_s * 7 / 6),
    gettext_noop("a third fewer requests"): lambda load: replace(load, rate_per_s=load.rate_per_s * 2 / 3),
    gettext_noop("prompts an eighth longer"): lambda load: replace(load, input_tokens=round(load.input_tokens * 1.125)),
    gettext_noop("answers a quarter shorter"): lambda load: replace(
        load, output_tokens=round(load.output_tokens * 0.75)
    ),
}
FAULTS: tuple[Fault, ...] = (
    _fault(gettext_noop("surge"), "surge", making.load_multiplied("rate_per_s", "offered_per_s"), low=2.0, high=3.0),
    _fault(gettext_noop("longer prompts"), "longer prompts", making.load_multiplied("input_tokens"), low=2.0, high=3.0),
    _fault(
        gettext_noop("longer answers"), "longer answers", making.load_multiplied("output_tokens"), low=2.0, high=3.0
    ),
    _fault(gettext_noop("salted prefixes"), "prefix cache missed", making.shorten_prefix, low=0.75, high=1.0),
    _by_server(
        gettext_noop("fewer KV blocks"),
        "KV cache too small",
        lambda d: ServerOptions(kv_factor=d),
        low=0.055,
        high=0.047,
    ),
    _by_server(
        gettext_noop("larger batch limit"),
        "batch limit raised",
        lambda d: ServerOptions(max_num_seqs=d),
        low=24,
        high=64,
        busy=2.8,
    ),
    _by_server(
        gettext_noop("smaller batch limit"),
        "batch limit lowered",
        lambda d: ServerOptions(max_num_seqs=d),
        low=2,
        high=1,
        busy=1.6,
    ),
    _fault(gettext_noop("processor hog"), "processor taken by others", making.occupy_processor, low=0.5, high=2.0),
    _fault(
        gettext_noop("fewer cores"),
        "server has fewer cores",
        making.restrict_cores,
        low=0.125,
        high=0.0625,
        why_not=making.one_core,
    ),
    _fault(
        gettext_noop("memory filled"),
        "memory pressure",
        making.fill_memory,
        low=0.4,
        high=0.6,
        why_not=making.too_much_memory,
    ),
    _fault(
        gettext_noop("slow network"),
        "slow network",
        making.network_fault(lambda d: Way(delay_s=d), "writes"),
        low=0.02,
        high=0.1,
    ),
    _fault(
        gettext_noop("packet loss"),
        "packets lost",
        making.network_fault(lambda d: Way(loss=d), "lost"),
        low=0.015,
        high=0.05,
    ),
    _by_server(
        gettext_noop("slow tokenizer"),
        "slow tokenizer",
        lambda d: ServerOptions(slow_tokenizer_s=d),
        low=0.00015,
        high=0.0005,
        begin=making.slow_tokenizer,
        engines=("torch",),
    ),
    _by_server(
        gettext_noop("another precision or model"),
        "model or precision changed",
        lambda d: ServerOptions(random_weights=d == "weights", other_precision=d == "precision"),
        low="precision",
        high="weights",
    ),
    _fault(
        gettext_noop("server errors"),
        "server errors",
        making.network_fault(lambda d: Way(refused=d), "refused"),
        low=0.1,
        high=0.3,
    ),
    _fault(gettext_noop("GPU neighbour"), "GPU shared", making.share_gpu, low=0.5, high=1.0, why_not=making.no_gpu),
    _fault(gettext_noop("server pauses"), "server pauses", making.pause_server, low=0.5, high=1.0),
    Fault(
        name=gettext_noop("control"),
        cause=None,
        doses={name: _dose(making.change_load, change) for name, change in HEALTHY_CHANGES.items()},
    ),
    Fault(
        name=gettext_noop("restarted"),
        cause=None,
        doses={"same": _dose(making.change_load, HEALTHY_CHANGES["same"], ServerOptions())},
    ),
)


def reason_against(fault: Fault, *, engine: str, is_gpu: bool) -> str | None:
    """Return why a fault cannot be injected into an engine on this machine; None where it can."""
    return (
        fault.why_not(is_gpu)
        if engine in fault.engines
        else gettext_noop("not available for {engine}").format(engine=engine)
    )
