"""Rows of a sensitivity run: single layer groups and whole plans; and the options that they give a plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from workbench.compress.rows import Coverage
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.rows import Row, Samples
from workbench.core.statistics import Interval
from workbench.estimate.mixed_precision import Option
from workbench.estimate.rows import ProductTime

UNQUANTIZED = "bf16"
KL_FLOOR = 1e-6  # where a plan without damage is drawn on a logarithmic scale
Options = Mapping[str, Sequence[Option]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDamage(Row):
    """Damage of one format in one group of linear layers alone."""

    part: ClassVar[str] = "layer group"
    group: str
    """Path of the group's modules, with the fused name last."""
    layer: int | None
    """Number of the decoder layer; None where the group lies in none."""
    role: str
    """Place of the group in its layer, such as "qkv"."""
    n_weights: int
    format: str
    stored_bits: float
    """Bits per weight, scales included."""
    kl_nat_per_token: Interval
    """Mean KL divergence from the original model, with its 95 % interval over windows."""
    fisher_kl_nat_per_token: float
    """KL divergence that the diagonal of the Fisher information predicts."""
    weight_error_fraction: float
    """Norm of the change of the weights over their norm."""
    input_outlier_ratio: float | None
    """Largest over median magnitude of the inputs of a layer; None where no token reached it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult(Row):
    """Predicted and measured damage of a whole plan."""

    part: ClassVar[str] = "plan"
    origin: Literal["solved", "random"]
    budget_bits: float
    """Bits per weight that the plan was allowed."""
    stored_bits: float
    """Bits per weight that it takes, scales included."""
    predicted_kl_nat_per_token: float
    """Sum of the damages of its groups alone."""
    verified_kl_nat_per_token: Interval
    """Measured mean KL divergence, with its 95 % interval over windows."""
    plan: Mapping[str, str]
    """Format of each layer group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCoverage(Row):
    """Weights that the measured layer groups hold, by kind of layer."""

    part: ClassVar[str] = "coverage"
    coverage: Coverage
    """Weights of the model, and those of them that belong to a layer group with a measured format."""
    not_reached: tuple[str, ...] = ()
    """Layer groups that no measured format fits; they stay as they are in every plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivitySamples(Samples):
    """Conditions of a sensitivity run."""

    prefix_ids: Sequence[int] = field(default_factory=list)
    """Special tokens, such as BOS, that stand before each window of text."""


def group_sizes(rows: Sequence[GroupDamage]) -> dict[str, int]:
    """Return the weights of each layer group."""
    return {r.group: r.n_weights for r in rows}


def bit_options(rows: Sequence[GroupDamage]) -> dict[str, list[Option]]:
    """Return what a plan can choose from, with stored bits per weight of the whole model as cost."""
    sizes = group_sizes(rows)
    total = sum(sizes.values())
    options = {group: [Option(format=UNQUANTIZED, damage=0.0, cost=16 * size / total)] for group, size in sizes.items()}
    for r in rows:
        cost = r.stored_bits * r.n_weights / total
        options[r.group].append(Option(format=r.format, damage=r.kl_nat_per_token.value, cost=cost))
    return options


def time_options(
    rows: Sequence[GroupDamage], products: Sequence[ProductTime], *, batch: int
) -> dict[str, list[Option]]:
    """Return what a plan can choose from, with measured seconds of the group's product as cost.

    Formats whose product was not timed are left out.

    Args:
        rows: Damages of a sensitivity run.
        products: Times of a ``gemm`` run of the same model.
        batch: Tokens in one product, one of the numbers that were timed.

    Raises:
        InvalidSpec: nothing was timed at this batch, or a group has no timed format.
    """
    seconds = {(r.role, r.format): r.p50_s.value for r in products if r.batch == batch}
    if not seconds:
        known = sorted({r.batch for r in products})
        raise InvalidSpec(
            gettext("No product was timed at batch {batch}.").format(batch=batch),
            remedy=gettext("Choose from: {names}.").format(names=known),
        )
    options: dict[str, list[Option]] = {}
    for r in rows:
        own = options.setdefault(r.group, [])
        if not own and (r.role, UNQUANTIZED) in seconds:
            own.append(Option(format=UNQUANTIZED, damage=0.0, cost=seconds[r.role, UNQUANTIZED]))
        if (r.role, r.format) in seconds:
            own.append(Option(format=r.format, damage=r.kl_nat_per_token.value, cost=seconds[r.role, r.format]))
    empty = next((group for group, choices in options.items() if not choices), None)
    if empty is not None:
        raise InvalidSpec(
            gettext("No format of {group} was timed.").format(group=empty),
            remedy=gettext("Time the formats of the sensitivity run."),
        )
    return options


def least_cost(options: Options) -> float:
    """Return the cost of the cheapest plan."""
    return sum(min(o.cost for o in choices) for choices in options.values())


ROWS = (GroupDamage, PlanResult, LayerCoverage)
SAMPLES = SensitivitySamples
