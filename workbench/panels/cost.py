"""The panel that answers what a million tokens cost, and what would make them cheaper."""

from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import catalog_models, model_spec_from
from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.tables import devices, median_price, median_reserved_price, median_spot_price, prices
from workbench.core.calibration import CalibrationSpec
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.units import three_digits
from workbench.estimate.fleet import Ownership, SpotMarket
from workbench.estimate.search import Load, Offer
from workbench.experiments.device_calibration import offers
from workbench.experiments.plan_verdict import basis_of, plan_label
from workbench.experiments.pricing import Priced, priced, steps_by_batch
from workbench.experiments.savings import Case
from workbench.export.page import WhatIfRow, what_if
from workbench.figures.cost import prices_of_ways, savings_and_claims
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager, workbench_home
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block, runs_of_kind

KIND = "calibration"
TITLE = "What does a million tokens cost me?"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostState:
    """Everything that the view is drawn from."""

    model: str = "meta-llama/Meta-Llama-3.1-8B"
    device: str = "h200-sxm"
    requests_per_s: float = 100.0
    input_tokens: int = 1024
    output_tokens: int = 128
    ttft_ms: float = 1000.0
    tpot_ms: float = 50.0
    hit_percent: float = 20.0
    interruptions_per_day: float = 1.0
    smaller: str = "Qwen/Qwen3-0.6B"
    purchase_usd: float = 40_000.0

    @property
    def command(self) -> str:
        """The same on a command line."""
        smaller = f" --smaller {self.smaller}" if self.smaller else ""
        return (
            f"workbench cost {self.model} {self.device} --rate {self.requests_per_s:g} --input-tokens {self.input_tokens} "
            f"--output-tokens {self.output_tokens} --ttft-ms {self.ttft_ms:g} --tpot-ms {self.tpot_ms:g} "
            f"--hit-rate {self.hit_percent / 100:g} --interruptions-per-day {self.interruptions_per_day:g}"
            f"{smaller} --purchase-usd {self.purchase_usd:g}"
        )


class CostPanel(AnswerPanel):
    """Prices of a load in any way; Run measures this GPU, to which `workbench calibrate` fits the predictions."""

    tab_titles = ("On a command line", "Ways to save", "Where the prices are from")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-cost", manager=manager, poll_s=poll_s)
        self.state = CostState()
        self._load_runs()
        later = {"continuous_update": False}
        known = [n for n, m in catalog_models().items() if m.kv_layers]
        listed = [(d.name, i) for i, d in devices().items() if d.bf16_flop_per_s and d.memory_bytes and median_price(i)]
        self.controls = {
            "model": labelled(
                widgets.Combobox, "Model (folder or catalogue)", value=self.state.model, options=known, **later
            ),
            "device": labelled(widgets.Dropdown, "Device", value=self.state.device, options=listed),
            "requests_per_s": labelled(
                widgets.BoundedFloatText, "Requests a second at the peak", value=100.0, min=0.001, max=1e6, **later
            ),
            "input_tokens": labelled(
                widgets.BoundedIntText, "Prompt, tokens", value=1024, min=1, max=1_000_000, **later
            ),
            "output_tokens": labelled(
                widgets.BoundedIntText, "Answer, tokens", value=128, min=1, max=1_000_000, **later
            ),
            "ttft_ms": labelled(
                widgets.BoundedFloatText, "Promise: first token within, ms", value=1000.0, min=0.1, max=1e7, **later
            ),
            "tpot_ms": labelled(
                widgets.BoundedFloatText, "Promise: further tokens within, ms", value=50.0, min=0.01, max=1e6, **later
            ),
            "hit_percent": labelled(
                widgets.BoundedFloatText, "Answered from a cache, %", value=20.0, min=0, max=99, **later
            ),
            "interruptions_per_day": labelled(
                widgets.BoundedFloatText, "Interruptions of a spot machine a day", value=1.0, min=0.01, max=1e3, **later
            ),
            "smaller": labelled(
                widgets.Combobox, "Distilled model in its place", value=self.state.smaller, options=known, **later
            ),
            "purchase_usd": labelled(
                widgets.BoundedFloatText, "Purchase of a device, USD", value=40_000.0, min=1, max=1e7, **later
            ),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _load_runs(self) -> None:
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)

    @property
    def plan(self) -> CalibrationSpec:
        """The measurement that Run starts."""
        return CalibrationSpec(model=self.state.model)

    def check(self) -> None:
        """There is a GPU, and the model is a folder, before a job is started."""
        from workbench.telemetry.devices import chosen_device

        if self.state.model in catalog_models():
            raise NotAvailable(
                f"{self.state.model} is in the catalogue only, so it can be priced and not measured.",
                remedy="Name a folder, such as data/models/llama-3.1-8b-shape.",
            )
        model_spec_from(self.state.model)
        if chosen_device("auto").kind == "cpu":
            raise NotAvailable("There is no GPU here to measure.", remedy="The shipped constants are used.")

    def finished(self, view: JobView) -> None:  # noqa: ARG002
        """Show the new measurement's origin."""
        self._load_runs()
        self.draw()

    def _case(self) -> Case:
        s = self.state
        spot = median_spot_price(s.device)
        return Case(
            model=model_spec_from(s.model),
            load=Load(
                requests_per_s=s.requests_per_s,
                input_tokens=s.input_tokens,
                output_tokens=s.output_tokens,
                ttft_s=s.ttft_ms / 1e3,
                tpot_s=s.tpot_ms / 1e3,
            ),
            offer=_offer_of(s.device),
            hit_fraction=s.hit_percent / 100,
            spot_usd=spot.usd_per_gpu_hour if spot else None,
            market=SpotMarket(interruptions_per_hour=s.interruptions_per_day / 24, return_s=600.0),
            smaller=model_spec_from(s.smaller) if s.smaller else None,
        )

    def view(self) -> AnswerView:
        """The answer to the state."""
        try:
            case = self._case()
            reserved = median_reserved_price(self.state.device)
            found = priced(
                case,
                owned=Ownership(purchase_usd=self.state.purchase_usd),
                reserved_usd=reserved.usd_per_gpu_hour if reserved else None,
            )
        except WorkbenchError as error:
            answer = message_card("failure", "No price.", error.cause, error.remedy)
            tabs = ("", "", "")
            return AnswerView(header=f"<h2>{TITLE}</h2>", answer=answer, figures=(), table="", tabs=tabs, run=None)
        spot = median_spot_price(self.state.device)
        run = self.runs[0] if self.runs else None
        return AnswerView(
            header=f"<h2>{TITLE}</h2><p class='sub'>◌ estimated; price: {escape(case.offer.price_label)}</p>",
            answer=_verdict(found).replace("<p>● ", "<p>◌ "),
            figures=(
                lambda: savings_and_claims(
                    [s.technique for s in found.savings],
                    saved=[s.saved_fraction for s in found.savings],
                    claimed=[(s.claimed_low_fraction, s.claimed_high_fraction) for s in found.savings],
                    how=[s.how for s in found.savings],
                ),
                lambda: prices_of_ways(*_ways(found)),
            ),
            table=_units(found),
            tabs=(
                code_block(self.state.command),
                _savings(found),
                f"<p>{escape(case.offer.price_label)}</p><p>{escape(spot.label if spot else 'no spot price is listed')}</p>"
                f"<p>{escape(reserved.label if reserved else 'no price for a whole term is listed')}</p>"
                "<p>Owned: purchase over four years, 8 % of it a year for space, people and repairs, 700 W at a PUE of 1.3 "
                "and 0.12 USD/kWh, used 70 % of the time. Rates of a day are made up (an office day).</p>",
            ),
            run=run,
        )

    def static_controls(self, view: AnswerView) -> str:
        """Price, use and batch, over predicted steps of one device."""
        if not view.figures:
            return ""
        case = self._case()
        rows = [WhatIfRow(label=f"{name} ◌", decode_s=steps) for name, steps in steps_by_batch(case).items()]
        return what_if(
            rows,
            usd_per_hour=case.offer.usd_per_hour or 1.0,
            price_source=case.offer.price_label,
            utilisation_fraction=0.7,
            batch=32,
            step_title="step of one device ◌",
            basis="Steps are estimated with the constants of the parallelism notebook.",
        )


@lru_cache(maxsize=32)
def _offer_of(device_id: str) -> Offer:
    return offers([device_id], own=workbench_home() / "calibrations")[0]


def _verdict(found: Priced) -> str:
    u, plan = found.units, found.plan
    good = (
        "none is good"
        if u.usd_per_good_request is None
        else f"{1e3 * u.usd_per_good_request:.3g} USD per 1000 good ones"
    )
    best = max((s for s in found.savings if s.saved_fraction is not None), key=lambda s: s.saved_fraction or 0.0)
    return verdict_card(
        f"{u.usd_per_million_input_tokens:.3g} USD per million input tokens, {u.usd_per_million_output_tokens:.3g} per million "
        f"output tokens; {found.usd_per_hour:.2f} USD/h.",
        f"{plan_label(plan)}; {1e3 * u.usd_per_request:.3g} USD per 1000 requests, {good} "
        f"({100 * found.good_fraction:.0f} % keep both promises in the simulation).",
        f"{basis_of(plan)}; {_spread(plan.device_id)}; the largest saving is that of {best.technique}.",
        is_stale=False,
    )


def _spread(device_id: str) -> str:
    """How far listed prices of a device are apart."""
    listed = [p.usd_per_gpu_hour for p in prices() if p.device_id == device_id]
    return f"a device is listed from {min(listed):.2f} to {max(listed):.2f} USD/h" if listed else "no price is listed"


def _ways(found: Priced) -> tuple[list[str], list[float]]:
    ways = [("on demand, all day", found.usd_per_hour)]
    scaled = found.day.machine_hours_scaled / 24 * found.usd_per_hour / found.plan.n_replicas
    ways.append(("on demand, scaled over a day", scaled))
    spot = next((s.usd_per_hour for s in found.savings if s.technique == "spot instances"), None)
    if spot is not None:
        ways.append(("with spot machines", spot))
    if found.reserved_usd_per_hour is not None:
        ways.append(("reserved for a term", found.reserved_usd_per_hour))
    ways.append(("owned", found.owned_usd_per_hour))
    return [w[0] for w in ways], [w[1] for w in ways]


def _units(found: Priced) -> str:
    u = found.units
    rows = [
        ("per million input tokens", three_digits(u.usd_per_million_input_tokens)),
        ("per million output tokens", three_digits(u.usd_per_million_output_tokens)),
        ("per 1000 requests", three_digits(1e3 * u.usd_per_request)),
        (
            "per 1000 good requests",
            "–" if u.usd_per_good_request is None else three_digits(1e3 * u.usd_per_good_request),
        ),
        ("an hour, on demand", f"{found.usd_per_hour:.2f}"),
        (
            "an hour, reserved for a whole term"
            + (
                ""
                if found.reserved_break_even_fraction is None
                else f" (pays if used {100 * found.reserved_break_even_fraction:.0f} % of it)"
            ),
            "–" if found.reserved_usd_per_hour is None else f"{found.reserved_usd_per_hour:.2f}",
        ),
        ("an hour, owned", f"{found.owned_usd_per_hour:.2f}"),
        ("of that, power", f"{found.energy_usd_per_hour:.2f}"),
        (
            f"an hour of a day with scaling, mean ({100 * found.day.saving_fraction:.0f} % less than the peak's all day)",
            f"{_ways(found)[1][1]:.2f}",
        ),
    ]
    return table(("◌ estimated", "USD"), rows)


def _savings(found: Priced) -> str:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.0f} %"

    rows = [
        (
            escape(s.technique),
            "–" if s.usd_per_hour is None else f"{s.usd_per_hour:.2f}",
            share(s.saved_fraction),
            f"{share(s.claimed_low_fraction)} to {share(s.claimed_high_fraction)}",
            escape(s.how),
        )
        for s in found.savings
    ]
    return table(("way to save", "USD/h", "saved here ◌", "claimed", "what was compared"), rows, left=(4,))


def panel(**options: Any) -> CostPanel:
    """The panel, attached to a run that is still going."""
    return CostPanel(**options)
