"""What a run of structured output says: the valid share of both kinds of answers, and what a schema costs."""

import json
from collections.abc import Sequence
from pathlib import Path

from workbench.catalog.models import is_only_a_shape
from workbench.core.columns import Columns
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.statistics import Interval
from workbench.core.units import shown_duration, shown_p99, shown_percent, three_digits
from workbench.core.verdict import Answer, Verdict, objections
from workbench.measuring.machine import BUSY
from workbench.questions.tuning.structured.rows import AnswersOfKind, StructureCost, StructuredSamples
from workbench.questions.tuning.structured.spec import StructuredSpec

LITTLE = 0.05
"""Share of TPOT that a schema may add without a word."""
MUCH_CUT = 0.05
AT_ONCE_S = 1e-4
"""TPOT below which the tokens of an answer came at the same time: no step is so short."""


def shown_share(value: Interval) -> str:
    """Return a share with its interval."""
    return f"{shown_percent(value.value)} [{shown_percent(value.low)}, {shown_percent(value.high)}]"


def shown_ratio(value: Interval) -> str:
    """Return a ratio with its interval."""
    return f"{three_digits(value.value)} [{three_digits(value.low)}, {three_digits(value.high)}]"


def shown_ms(value: Interval) -> str:
    """Return a time that is added, with its interval."""
    low, middle, high = (three_digits(1e3 * v) for v in (value.low, value.value, value.high))
    return f"{middle} ms [{low}, {high}]"


def kind_name(row: AnswersOfKind) -> str:
    """Return what readers call a kind of answers."""
    return gettext("plain") if row.variant == "plain" else gettext("with the schema")


def parts(run: Run) -> tuple[AnswersOfKind, AnswersOfKind, StructureCost]:
    """Return the plain answers, those with a schema, and what it costs; raises ``NotAvailable`` where a part is missing."""
    by_kind, cost = {r.variant: r for r in run.rows(AnswersOfKind)}, run.row(StructureCost)
    if len(by_kind) < 2 or cost is None:
        raise NotAvailable(gettext("The run does not hold both kinds of answers."), remedy=gettext("Measure again."))
    return by_kind["plain"], by_kind["structured"], cost


def decided(plain: Interval, structured: Interval, tpot: Interval) -> Answer:
    """Return whether a schema pays: yes where more answers are valid and its cost is known, no where none more are and it costs, else open.

    Args:
        plain: Valid share of plain answers.
        structured: Valid share of answers with the schema.
        tpot: TPOT with the schema over that without.
    """
    is_cost_known = tpot.low > 1 or tpot.high < 1 + LITTLE
    if structured.low > plain.high:
        return "yes" if is_cost_known else "open"
    return "no" if tpot.low > 1 else "open"


def verdict(run: Run) -> Verdict:
    """Return whether a schema pays, with its costs, and what speaks against it."""
    plain, structured, cost = parts(run)
    answer, tpot = decided(plain.valid, structured.valid, cost.tpot_ratio), shown_ratio(cost.tpot_ratio)
    shares = {"structured": shown_percent(structured.valid.value), "plain": shown_percent(plain.valid.value)}
    if answer == "yes":
        headline = gettext(
            "The schema pays: {structured} of the answers are valid with it and {plain} without, at {tpot} times the TPOT."
        ).format(**shares, tpot=tpot)
    elif answer == "no":
        headline = gettext(
            "The schema does not pay: {structured} of the answers are valid with it and {plain} without, at {tpot} times the TPOT."
        ).format(**shares, tpot=tpot)
    elif structured.valid.low > plain.valid.high:
        headline = gettext(
            "With the schema {structured} of the answers are valid and {plain} without; what it costs is open (TPOT {tpot} times)."
        ).format(**shares, tpot=tpot)
    else:
        headline = gettext(
            "Open: {structured} of the answers are valid with the schema and {plain} without, at {tpot} times the TPOT."
        ).format(**shares, tpot=tpot)
    return Verdict(
        headline=headline,
        evidence=gettext(
            "Valid share {structured} with the schema and {plain} without. Asked alone, the first request with a new schema has {first} of "
            "TTFT more than a plain one and the next {later}; under the load TTFT is {ttft} times that of plain answers."
        ).format(
            structured=shown_share(structured.valid),
            plain=shown_share(plain.valid),
            first=shown_ms(cost.first_extra_s),
            later=shown_ms(cost.later_extra_s),
            ttft=shown_ratio(cost.ttft_ratio),
        ),
        objection=_objection(run, plain, structured),
        answer=answer,
        best="structured" if answer == "yes" else None,
    )


def _objection(run: Run, plain: AnswersOfKind, structured: AnswersOfKind) -> str | None:
    spec, points = run.asked(StructuredSpec), []
    if structured.cut_fraction > MUCH_CUT:
        points.append(
            gettext("{share} of the answers with the schema were cut at {n} tokens, and a cut one is not valid").format(
                share=shown_percent(structured.cut_fraction), n=spec.output_tokens
            )
        )
    tpot_s = [t for own in run.sampled(StructuredSamples).tpot_s.values() for t in own if t is not None]
    if (at_once := sum(t < AT_ONCE_S for t in tpot_s)) > MUCH_CUT * len(tpot_s):
        points.append(
            gettext(
                "the tokens of {share} of the answers came all at once, so that their TTFT is that of the whole answer and they have no TPOT"
            ).format(share=shown_percent(at_once / len(tpot_s)))
        )
    if (spec.url is None and is_only_a_shape(spec.model)) or spec.random_weights:
        points.append(gettext("the weights are random, so that no share of valid answers says anything"))
    elif not spec.prompts:
        points.append(gettext("the prompts are random words that ask for nothing: give your own with --prompts"))
    if structured.tokens_per_answer < (1 - LITTLE) * plain.tokens_per_answer:
        points.append(
            gettext(
                "answers with the schema are shorter ({structured} tokens, {plain} without), so that fewer are written at the same time"
            ).format(structured=three_digits(structured.tokens_per_answer), plain=three_digits(plain.tokens_per_answer))
        )
    busy = run.environment.other_load_fraction
    if busy is not None and busy > BUSY:
        points.append(
            gettext("other processes took {share} of the processors meanwhile").format(share=shown_percent(busy))
        )
    if failed := plain.n_failed + structured.n_failed:
        points.append(gettext("{n} requests failed and are left out").format(n=failed))
    return objections(points, most=5)


ANSWER_COLUMNS: Columns[AnswersOfKind] = {
    gettext("Answers ●"): kind_name,
    gettext("valid"): lambda r: shown_share(r.valid),
    gettext("prompts"): lambda r: str(r.n_prompts),
    gettext("cut"): lambda r: shown_percent(r.cut_fraction),
    gettext("tokens an answer"): lambda r: three_digits(r.tokens_per_answer),
    gettext("TTFT p50"): lambda r: shown_duration(r.ttft_p50_s),
    gettext("p99"): lambda r: shown_p99(r.ttft_p99_s, n=r.n_requests - r.n_failed),
    gettext("TPOT p50"): lambda r: shown_duration(r.tpot_p50_s),
}
COST_COLUMNS: Columns[tuple[str, str]] = {
    gettext("What the schema adds ●"): lambda c: c[0],
    gettext("median of the rounds, 95 %"): lambda c: c[1],
}


def cost_rows(cost: StructureCost) -> Sequence[tuple[str, str]]:
    """Return the costs with their names."""
    return (
        (gettext("TTFT of the first request with a new schema, alone"), shown_ms(cost.first_extra_s)),
        (gettext("TTFT of the next request with it, alone"), shown_ms(cost.later_extra_s)),
        (gettext("TTFT under the load, over plain"), shown_ratio(cost.ttft_ratio)),
        (gettext("TPOT under the load, over plain"), shown_ratio(cost.tpot_ratio)),
    )


def request_field(run: Run) -> str:
    """Return the field that asks for the schema, as vLLM's completions and chat take it."""
    name = Path(run.asked(StructuredSpec).schema).name
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": f"<{name}>"}}
    return json.dumps({"response_format": wanted})


def about(run: Run) -> str:
    """Return what the numbers are of."""
    spec = run.asked(StructuredSpec)
    return gettext(
        "{model}, schema {schema}, answers of up to {n_out} tokens, {n} requests a load at {rate}/s, {rounds} rounds · {device}, run {run}, {day}"
    ).format(
        model=spec.url or spec.model,
        schema=Path(spec.schema).name,
        n_out=spec.output_tokens,
        n=spec.n_requests,
        rate=three_digits(spec.rate_per_s),
        rounds=spec.rounds,
        device=run.environment.device,
        run=run.id,
        day=run.day,
    )
