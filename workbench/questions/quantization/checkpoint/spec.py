"""What the making of checkpoints can be asked for: schemes, a plan, and the calibration text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from workbench.catalog.formats import MAKEABLE, MIXED, SCHEMES
from workbench.catalog.model_spec import ModelSpec
from workbench.compress.knobs import CalibrationText, CalibrationWindows, Original, WindowTokens
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Seed, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec(Spec):
    """Checkpoints to make; a plan alone makes the mixed one."""

    kind: ClassVar[str] = "checkpoint"
    command: ClassVar[str] = "checkpoints"

    model: Original
    schemes: tuple[str, ...] = knob(
        tuple(SCHEMES),
        "Schemes",
        "Quantization schemes, one checkpoint each: all but mixed by default, or only mixed where a plan is given.",
        choices={name: s.label for name, s in SCHEMES.items()} | {MIXED: "the plan"},
    )
    plan: Mapping[str, str] | None = knob(
        None,
        "Plan (JSON, or a file with it)",
        "Format of each layer group by name, or of each role, for the scheme mixed.",
    )
    text: CalibrationText = None
    n_samples: CalibrationWindows = 64
    sample_tokens: WindowTokens = 512
    out: str | None = knob(
        None,
        "Folder for the checkpoints",
        "Folder that the checkpoints are written to; by default, a folder next to the stored runs.",
        is_path=True,
    )
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_samples", "sample_tokens")
        if self.plan is not None and self.schemes == tuple(SCHEMES):
            object.__setattr__(self, "schemes", (MIXED,))
        require_known(gettext("schemes"), self.schemes, (*SCHEMES, MIXED))
        if (MIXED in self.schemes) != (self.plan is not None):
            raise InvalidSpec(
                gettext('The scheme "mixed" and a plan belong together.'),
                remedy=gettext("Give a plan (see `workbench sensitivity`) with the scheme mixed, or neither."),
            )
        if self.plan:
            require_known(gettext("formats in the plan"), self.plan.values(), MAKEABLE)


def require_float_weights(model: ModelSpec) -> None:
    """Raise ``InvalidSpec`` for a model that is quantized already, which llm-compressor does not quantize again."""
    if model.stored is not None:
        raise InvalidSpec(
            gettext("The weights of {model} are quantized already ({method}).").format(
                model=model.name, method=model.stored.method
            ),
            remedy=gettext("Name the model that they were made from, or write them in BF16 first."),
        )
