"""The panel that answers what a million tokens cost, and what would make them cheaper."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from workbench.calibrate.device.spec import CalibrationSpec
from workbench.catalog.models import plannable_models, require_folder
from workbench.catalog.prices import median_price
from workbench.catalog.tables import devices
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.interface.html import code_block, joined, paragraph, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.report.page import WhatIfRow, what_if
from workbench.interface.view import AnswerView
from workbench.questions.cost.figures import prices_of_ways, savings_and_claims
from workbench.questions.cost.findings import (
    SAVING_HEAD,
    UNIT_HEAD,
    cost_verdict,
    hourly_prices,
    launch_lines,
    price_load,
    price_sources,
    saving_rows,
    steps_by_batch,
    unit_rows,
)
from workbench.questions.cost.spec import CostSpec
from workbench.telemetry.devices import chosen_device

WHAT_IF_BATCH = 32
price_load_once = lru_cache(maxsize=32)(price_load)


class CostPanel(QuestionPanel):
    """Prices of a load in any way; Run measures this GPU, to which `workbench calibrate` fits the predictions."""

    title = gettext("What does a million tokens cost me?")
    spec_class, measured_class = CostSpec, CalibrationSpec
    lists_runs = False
    css_class = "wb-cost"
    tab_titles = (gettext("Ways to save"), gettext("Sources of prices"), gettext("Launch command"))

    @property
    def measured_spec(self) -> CalibrationSpec:
        """The device, measured with the shape of the model."""
        return CalibrationSpec(model=self.plan.model)

    def check(self) -> None:
        """Raise ``NotAvailable`` unless there is a GPU and the model is a folder."""
        require_folder(self.plan.model)
        if chosen_device("auto").kind == "cpu":
            raise NotAvailable(
                gettext("There is no GPU here to measure."), remedy=gettext("The shipped constants are used.")
            )

    def choices(self) -> Mapping[str, list[Any]]:
        """Return the models that can be planned and the devices that can be, those without a listed price last."""
        models = list(plannable_models())
        known = [d for d in devices().values() if (d.bf16_flop_per_s or d.fp16_flop_per_s) and d.memory_bytes]
        priced = [(d.name, d.id) for d in known if median_price(d.id)]
        others = [
            (gettext("{device} (no listed price: give --prices)").format(device=d.name), d.id)
            for d in known
            if not median_price(d.id)
        ]
        return {"model": models, "smaller": models, "device": priced + others}

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        try:
            answer = price_load_once(self.plan)
        except WorkbenchError as error:
            return self.no_answer(error)
        return AnswerView(
            about=gettext("for {model} on {device}; price: {price}").format(
                model=answer.case.model.name, device=answer.case.offer.name, price=answer.case.offer.price_label
            ),
            provenance=Provenance.ESTIMATED,
            answer=verdict_card(cost_verdict(answer)),
            figures=(
                lambda: savings_and_claims(answer.savings),
                lambda: prices_of_ways(hourly_prices(answer)),
            ),
            table=table(UNIT_HEAD, unit_rows(answer)),
            tabs=(
                table(SAVING_HEAD, saving_rows(answer), left=(4,)),
                joined(*map(paragraph, price_sources(answer))),
                code_block(launch_lines(answer)),
            ),
            run=self.run,
        )

    def static_controls(self, view: AnswerView) -> Markup:
        """Return price, utilization and batch size, over predicted steps of one device."""
        if not view.figures:
            return Markup("")
        answer = price_load_once(self.plan)
        offer, steps = answer.case.offer, steps_by_batch(answer.case)
        return what_if(
            [WhatIfRow(label=f"{name} ◌", decode_s=by_batch) for name, by_batch in steps.items()],
            usd_per_hour=offer.usd_per_hour or 1.0,
            price_source=offer.price_label,
            utilization_fraction=answer.owned.used_fraction,
            batch=WHAT_IF_BATCH,
            step_title=gettext("step of one device ◌"),
            basis=gettext("Steps are estimated with the constants of the parallelism notebook."),
        )
