"""One self-contained page: text, figures as JSON, one packed plotly, a content policy that forbids all requests."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from workbench.core.knobs import knobs_of
from workbench.core.language import SOURCE, gettext, gettext_noop, language
from workbench.estimate.knobs import BatchSize, HourlyPrice, Utilization
from workbench.interface.knobs import report_input
from workbench.interface.style import STYLE, font_rule
from workbench.interface.theme import mime_bundle

HERE = Path(__file__).parent
PLOTLY_FILE = HERE / "vendor" / "plotly-cartesian-4.1.1.min.js.gz"
POLICY = (
    "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'none'; form-action 'none'; base-uri 'none'"
)
"""Only the scripts run whose hashes it names: the page's own and the packed plotly."""


def json_script(data: object, *, name: str = "") -> Markup:
    """Return data inside HTML, in an element of a name; no text in it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    named = f' id="{name}"' if name else ""
    return Markup(f'<script{named} type="application/json">{text}</script>')


def figure_div(fig: go.Figure | Mapping[str, object]) -> Markup:
    """Return a figure that the page's script draws."""
    bundle = mime_bundle(fig)["application/vnd.plotly.v1+json"] if isinstance(fig, go.Figure) else fig
    return Markup('<div class="wb-figure"><div class="plot"></div>{}</div>').format(json_script(bundle))


def _controls(kind: str, title: str, data: object, *, inputs: Sequence[Markup], below: Markup, note: str) -> Markup:
    """A section that the page's script keeps alive: its data, a form, what follows from both, and what it stands on."""
    return Markup(
        '<section class="wb {}"><h2>{}</h2>{}\n<form>{}</form>\n{}\n<p class="wb-legend">{}</p></section>'
    ).format(kind, title, json_script(data), Markup("\n").join(inputs), below, note)


def _filled_table(*head: str) -> Markup:
    """A table whose rows the page's script fills in."""
    cells = (Markup('<th class="{}">{}</th>').format("r" if i else "l", title) for i, title in enumerate(head))
    return Markup(
        '<div class="wb-scroll" tabindex="0" aria-live="polite"><table class="wb-table"><thead><tr>{}</tr></thead><tbody></tbody></table></div>'
    ).format(Markup("").join(cells))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the cost of a token follows from, beside the time of a step."""

    usd_per_hour: HourlyPrice
    utilization_fraction: Utilization
    batch: BatchSize


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfRow:
    """One option of the cost table: step times in seconds by batch size."""

    label: str
    decode_s: Mapping[int, float]


def what_if(
    rows: Sequence[WhatIfRow],
    *,
    usd_per_hour: float,
    price_source: str,
    utilization_fraction: float,
    batch: int,
    step_title: str = gettext("step ● / ◌ between measured batches"),
    basis: str = gettext("Estimated from measured step times."),
) -> Markup:
    """Return the cost per million output tokens, with controls that work without a kernel.

    They start with the given price, utilization and batch size; the slider of the last ends at the largest of the rows.
    ``step_title`` stands over the step times, and ``basis`` says what they stand on.
    """
    fields = knobs_of(Usage)
    highest = max((b for row in rows for b in row.decode_s), default=1)
    data = {"rows": [{"label": r.label, "decode_s": {str(b): s for b, s in r.decode_s.items()}} for r in rows]}
    upto = replace(fields["batch"], knob=replace(fields["batch"].knob, high=highest))
    inputs = [
        report_input(fields["usd_per_hour"], "price", usd_per_hour),
        report_input(fields["utilization_fraction"], "utilization", utilization_fraction),
        report_input(upto, "batch", batch),
    ]
    note = gettext("Price: {source}. Prefill is left out. {basis}").format(source=price_source, basis=basis)
    below = _filled_table(gettext("Method"), step_title, gettext("USD / M output tokens ◌"))
    return _controls("wb-whatif", gettext("What if?"), data, inputs=inputs, below=below, note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One plan that the budget of a report can buy."""

    cost: float
    """In the unit that is shown."""
    damage: float
    """Predicted mean KL divergence, nat per token."""
    formats: Mapping[str, str]
    """What each layer group shows in the heat map."""
    plan: Mapping[str, str]


def plan_explorer(steps: Sequence[PlanStep], *, unit: str, start: int) -> Markup:
    """Return a budget that chooses among plans without a kernel: heat map, marker in the plot and plan file follow it.

    Args:
        steps: Plans by growing cost.
        unit: Unit of the cost.
        start: Index of the plan that the verdict before it is about.
    """
    groups = list(steps[0].formats)
    plans = [
        {"cost": s.cost, "damage": s.damage}
        | {"formats": [s.formats[g] for g in groups], "plan": [s.plan[g] for g in groups]}
        for s in steps
    ]
    data = {"unit": unit, "start": start, "groups": groups, "steps": plans}
    budget = Markup(
        '<label>{} <span><input name="step" type="range" min="0" max="{}" value="{}"> <output data-shows="cost"></output>'
        "</span></label>"
    ).format(gettext("Budget"), len(steps) - 1, start)
    below = Markup(
        '<p aria-live="polite" data-shows="status"></p>'
        '<details><summary>plan.json</summary><pre class="wb-code" data-shows="plan"></pre></details>'
    )
    note = gettext(
        "◌ Predicted by adding up the measured damage of single layer groups. "
        "A click on a point of the dotted line chooses its plan."
    )
    return _controls("wb-plans", gettext("Another budget?"), data, inputs=[budget], below=below, note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One way to serve, at growing numbers of sequences."""

    label: str
    """Without the number of replicas."""
    prefill_s: float
    """Of a prompt alone; a first token waits for half a step more."""
    tpot_s: Sequence[float]
    """At each number of sequences that memory has room for, from the least on."""
    usd_per_replica_hour: float


def load_planner(
    rows: Sequence[LoadRow],
    *,
    batches: Sequence[int],
    output_tokens: int,
    inputs: Sequence[Markup],
    shown: int,
    basis: str,
) -> Markup:
    """Return replicas and cost for a request rate and an SLO by mean latencies, with controls that work without a kernel.

    Args:
        rows: Ways to serve.
        batches: Numbers of sequences of the rows' times.
        output_tokens: Tokens of an answer.
        inputs: Inputs named ``rate`` (requests a second), ``ttft`` and ``tpot`` (milliseconds).
        shown: Rows of the table; the cheapest ones.
        basis: Lengths and prices that it stands on.
    """
    plans = [
        {"label": r.label, "usd": r.usd_per_replica_hour, "prefill_s": r.prefill_s, "tpot_s": list(r.tpot_s)}
        for r in rows
    ]
    data = {"shown": shown, "batches": list(batches), "output_tokens": output_tokens, "rows": plans}
    below = _filled_table(gettext("Plan ◌"), gettext("sequences"), "TTFT", "TPOT", "USD/h ◌")
    return _controls("wb-load", gettext("Another load?"), data, inputs=inputs, below=below, note=basis)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRequests:
    """A setting of a server with the latencies of some requests."""

    label: str
    launch: str
    """Launch command."""
    is_measured: bool
    is_default: bool
    per_s: float
    """Requests per second, of which those within the SLO are the goodput."""
    pairs: Sequence[tuple[float | None, float | None]]
    """TTFT and TPOT; None, None: not answered, a TPOT of None: a single token."""
    ttft_p90_s: float | None
    tpot_p90_s: float | None
    """Place in the plot."""


def setting_explorer(
    rows: Sequence[SettingRequests], *, inputs: Sequence[Markup], worth_fraction: float, basis: str
) -> Markup:
    """Return sliders of the SLO that choose a setting without a kernel: table, command and the star in the plot follow.

    Args:
        rows: Settings, of which one is the default.
        inputs: Sliders named ``ttft`` and ``tpot``, in milliseconds.
        worth_fraction: Gain over the default from which on another setting is chosen.
        basis: What it stands on.
    """

    def milliseconds(seconds: float | None) -> float | None:
        return None if seconds is None else round(1e3 * seconds, 1)

    settings = [
        {
            "label": r.label,
            "launch": r.launch,
            "measured": r.is_measured,
            "default": r.is_default,
            "per_s": round(r.per_s, 4),
        }
        | {"x": milliseconds(r.ttft_p90_s), "y": milliseconds(r.tpot_p90_s)}
        | {"pairs": [[milliseconds(a), milliseconds(b)] for a, b in r.pairs]}
        for r in rows
    ]
    data = {"worth": worth_fraction, "rows": settings}
    filled = _filled_table(gettext("Setting"), gettext("goodput, requests/s"), gettext("over the default"))
    below = Markup(
        '<p aria-live="polite" data-shows="status"></p>{}<pre class="wb-code" data-shows="launch"></pre>'
    ).format(filled)
    return _controls("wb-tune", gettext("Another SLO?"), data, inputs=inputs, below=below, note=basis)


SCRIPT_TEXTS = (
    gettext_noop("No plan meets the SLO: loosen a limit."),
    gettext_noop("Give numbers above zero."),
    gettext_noop("{cost}: predicted KL {damage} nat/token."),
    gettext_noop("Not worth tuning under this SLO: the default has {rate} requests/s within it."),
    gettext_noop("{label}: {rate} requests/s within the SLO ({percent} % over the default)."),
    gettext_noop("{label}: {rate} requests/s within the SLO."),
    gettext_noop("{label} (default)"),
    gettext_noop("Copy"),
    gettext_noop("Copied"),
    gettext_noop("{n} more rows are in the file, which opens in a browser."),
    gettext_noop("{n} more lines are in the file, which opens in a browser."),
    gettext_noop("Selected: copy it"),
    gettext_noop("This browser cannot unpack the charts; the tables hold the same numbers."),
    gettext_noop("chosen plan"),
    gettext_noop("chosen setting"),
)
"""Texts that ``runtime.js`` shows, and the names of traces that it looks for."""


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _packed_plotly() -> tuple[str, str]:
    """The packed plotly as base64, and the hash of the script in it."""
    packed = PLOTLY_FILE.read_bytes()
    return base64.b64encode(packed).decode(), _hash(gzip.decompress(packed).decode())


def page(title: str, body: Markup, *, footer: Markup) -> str:
    """Return the complete document of a report."""
    runtime, css = ((HERE / name).read_text(encoding="utf-8") for name in ("runtime.js", "page.css"))
    hashes, plotly = [_hash(runtime)], Markup("")
    if 'class="wb-figure"' in body:
        packed, hash_of_plotly = _packed_plotly()
        hashes.append(hash_of_plotly)
        plotly = Markup('<script id="wb-plotly" type="application/octet-stream">{}</script>').format(packed)
    return Markup("""<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><style>{style}</style></head>
<body><main>{body}</main><footer>{footer}</footer><noscript>{noscript}</noscript>
{plotly}{texts}<script>{runtime}</script></body></html>
""").format(
        lang=language().replace("_", "-"),
        noscript=gettext("Without JavaScript the tables remain; charts and what-if controls need it."),
        texts=""
        if language() == SOURCE
        else json_script({text: gettext(text) for text in SCRIPT_TEXTS}, name="wb-texts"),
        policy=Markup(POLICY.format(" ".join(hashes))),
        title=title,
        style=Markup(STYLE + css + font_rule("body", "system-ui")),
        body=body,
        footer=footer,
        plotly=plotly,
        runtime=Markup(runtime),
    )
