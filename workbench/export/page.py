"""One self-contained page: text, figures as JSON, one packed plotly, a content policy that forbids all requests."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from workbench.figures.style import STYLE
from workbench.figures.theme import mime_bundle

HERE = Path(__file__).parent
PLOTLY_FILE = HERE / "vendor" / "plotly-cartesian-4.1.1.min.js.gz"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'none'; form-action 'none'; base-uri 'none'"
)


def json_script(data: Any) -> str:
    """Data inside HTML; no text in it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def figure_div(fig: go.Figure | Mapping[str, Any]) -> str:
    """A figure that the page's script draws."""
    bundle = mime_bundle(fig)["application/vnd.plotly.v1+json"] if isinstance(fig, go.Figure) else fig
    return f'<div class="wb-figure"><div class="plot"></div>{json_script(bundle)}</div>'


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
    utilisation_fraction: float,
    batch: int,
    step_title: str = "step ● / ◌ between measured batches",
    basis: str = "Estimated from measured step times.",
) -> str:
    """Cost per million output tokens with controls that work without a kernel.

    Args:
        rows: Options.
        usd_per_hour: The price that the control starts with.
        price_source: Whose.
        utilisation_fraction: Start of its slider.
        batch: Likewise.
        step_title: Over the column of step times.
        basis: What they stand on.
    """
    highest = max((b for row in rows for b in row.decode_s), default=1)
    data = {"rows": [{"label": r.label, "decode_s": {str(b): s for b, s in r.decode_s.items()}} for r in rows]}
    return f"""<section class="wb wb-whatif"><h2>What if?</h2>{json_script(data)}
<form><label>Price, USD per hour <input name="price" type="number" min="0.01" step="0.01" value="{usd_per_hour:g}"></label>
<label>Utilisation <span><input name="utilisation" type="range" min="1" max="100" value="{utilisation_fraction * 100:.0f}"> <output data-shows="utilisation"></output></span></label>
<label>Batch, sequences <span><input name="batch" type="range" min="1" max="{highest}" value="{batch}"> <output data-shows="batch"></output></span></label></form>
<div class="wb-scroll" aria-live="polite"><table class="wb-table"><thead><tr><th class="l">Method</th><th class="r">{escape(step_title)}</th>
<th class="r">USD / M output tokens ◌</th></tr></thead><tbody></tbody></table></div>
<p class="wb-legend">Price: {escape(price_source)}. Reading prompts is left out. {escape(basis)}</p></section>"""


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


def plan_explorer(steps: Sequence[PlanStep], *, unit: str, start: int) -> str:
    """A budget that chooses among plans without a kernel: heat map, marker in the plot and plan file follow it.

    Args:
        steps: Plans by growing cost.
        unit: Of the cost.
        start: The plan that the verdict before it speaks of.
    """
    groups = list(steps[0].formats)
    data = {
        "unit": unit,
        "start": start,
        "groups": groups,
        "steps": [
            {
                "cost": s.cost,
                "damage": s.damage,
                "formats": [s.formats[g] for g in groups],
                "plan": [s.plan[g] for g in groups],
            }
            for s in steps
        ],
    }
    return f"""<section class="wb wb-plans"><h2>Another budget?</h2>{json_script(data)}
<form><label>Budget <span><input name="step" type="range" min="0" max="{len(steps) - 1}" value="{start}"> <output data-shows="cost"></output></span></label></form>
<p aria-live="polite" data-shows="told"></p><details><summary>plan.json</summary><pre class="wb-code" data-shows="plan"></pre></details>
<p class="wb-legend">◌ Predicted by adding up the measured damage of single layer groups. A click on a point of the dotted line chooses its plan.</p></section>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One way to serve, at growing numbers of sequences; the four lists are as long as each other."""

    label: str
    """Without the number of replicas."""
    batch: Sequence[float]
    ttft_s: Sequence[float]
    tpot_s: Sequence[float]
    requests_per_s: Sequence[float]
    """Of one replica."""
    usd_per_replica_hour: float


def load_planner(
    rows: Sequence[LoadRow], *, requests_per_s: float, ttft_s: float, tpot_s: float, shown: int, basis: str
) -> str:
    """Replicas and cost for a rate and two promises, with controls that work without a kernel.

    Args:
        rows: Ways to serve.
        requests_per_s: The rate that its control starts with.
        ttft_s: Likewise, of the first token.
        tpot_s: Likewise, of the further tokens.
        shown: Rows of the table; the cheapest ones.
        basis: What lengths and prices stand behind it.
    """
    lists = ("batch", "ttft_s", "tpot_s", "requests_per_s")
    data = {
        "shown": shown,
        "rows": [
            {"label": r.label, "usd": r.usd_per_replica_hour}
            | {name: [float(f"{v:.6g}") for v in getattr(r, name)] for name in lists}
            for r in rows
        ],
    }
    return f"""<section class="wb wb-load"><h2>Another load?</h2>{json_script(data)}
<form><label>Requests a second <input name="rate" type="number" min="0.001" step="any" value="{requests_per_s:g}"></label>
<label>First token within, ms <input name="ttft" type="number" min="0.1" step="any" value="{ttft_s * 1e3:g}"></label>
<label>Each further token within, ms <span><input name="tpot" type="range" min="1" max="200" value="{tpot_s * 1e3:.0f}"> <output data-shows="tpot"></output></span></label></form>
<div class="wb-scroll" aria-live="polite"><table class="wb-table"><thead><tr><th class="l">Plan ◌</th><th class="r">sequences</th>
<th class="r">first token</th><th class="r">per token</th><th class="r">USD/h ◌</th></tr></thead><tbody></tbody></table></div>
<p class="wb-legend">{escape(basis)}</p></section>"""


def page(title: str, body: str, *, footer: str) -> str:
    """The complete document."""
    needs_plotly = 'class="wb-figure"' in body
    packed = base64.b64encode(PLOTLY_FILE.read_bytes()).decode() if needs_plotly else ""
    plotly = f'<script id="wb-plotly" type="application/octet-stream">{packed}</script>' if needs_plotly else ""
    runtime, css = (HERE / "runtime.js").read_text(encoding="utf-8"), (HERE / "page.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{STYLE}{css}</style></head>
<body><main>{body}</main><footer>{footer}</footer><noscript>Without JavaScript the tables remain; charts and what-if controls need it.</noscript>
{plotly}<script>{runtime}</script></body></html>
"""
