"""What an evaluation can be asked for: the original model, checkpoints or KV cache formats, texts and tasks."""

from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import ClassVar

from workbench.catalog.formats import KV, KV_FORMATS
from workbench.compress.knobs import EvaluationText, Original, Windows, WindowTokens
from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, Seed, advanced, knob
from workbench.core.language import gettext
from workbench.core.specs import Spec

# Mean KL in nat per token of formats of an 8B model: logs of llama.cpp's perplexity tool (Watt-8B, eaddario): Q8_0,
# Q5_K_M, Q3_K_M.
KL_MARKS = ((gettext("8 bits"), 0.00024), (gettext("5 bits"), 0.0047), (gettext("3 bits"), 0.051))
KL_WORSE = 0.1  # twice the last mark


def kl_band(kl_nat_per_token: float) -> str:
    """Return the published format whose mean KL divergence is closest, on a logarithmic scale."""
    if kl_nat_per_token > KL_WORSE:
        return gettext("worse than 3 bits")
    return gettext("like {format}").format(
        format=min(KL_MARKS, key=lambda mark: abs(log(max(kl_nat_per_token, 1e-12) / mark[1])))[0]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec(Spec):
    """Checkpoints and KV cache formats to compare with the original model."""

    kind: ClassVar[str] = "evaluation"
    command: ClassVar[str] = "evaluate"

    model: Original
    candidates: tuple[str, ...] = knob(
        tuple(KV + f for f in KV_FORMATS),
        "Checkpoints and KV cache formats",
        "Folders of checkpoints to compare with the original, or KV cache formats that the original runs with.",
        choices={
            KV + f: f"{bits.upper()} cache, scale per {what}" for f in KV_FORMATS for bits, what in [f.split("-")]
        },
        suggestions=("checkpoints/stdlib-9m-gptq-w4a16",),
        is_argument=True,
        is_path=True,
    )
    text: EvaluationText = None
    n_windows: Windows = 64
    window_tokens: WindowTokens = 512
    n_passkeys: int = advanced(
        100,
        "Pass keys",
        "Number of pass keys that are hidden in text and asked for; 0 skips the retrieval task.",
        low=0,
        option="passkeys",
    )
    passkey_tokens: int = advanced(
        1024,
        "Pass-key prompt length",
        "Number of tokens of the text that a pass key is hidden in.",
        unit="tokens",
        low=1,
    )
    n_completions: int = advanced(
        200,
        "Lines to complete",
        "Number of code lines whose second half is asked for; 0 skips the completion task.",
        low=0,
        option="completions",
    )
    in_vllm: bool = knob(
        False,
        "Agreement with vLLM",
        "Whether each checkpoint is also loaded in vLLM, and its most likely tokens are compared with those of transformers.",
    )
    tasks: tuple[str, ...] = advanced(
        (), "lm-eval tasks", "Names of lm-eval tasks to run; their data must be on disk, since the network is off."
    )
    task_folder: str | None = advanced(
        None, "Folder of custom lm-eval tasks", "Folder with the YAML files of your own lm-eval tasks.", is_path=True
    )
    device: DeviceChoice = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_windows", "window_tokens", "passkey_tokens")
        if not self.candidates:
            raise InvalidSpec(
                gettext("There is no checkpoint to evaluate."), remedy=gettext("Name one or more folders.")
            )
        names = [Path(c).name for c in self.candidates]  # a command line takes what it does not know for a folder
        if caches := [n for n in names if n.startswith(KV)]:
            require_known(gettext("cache formats"), caches, [KV + f for f in KV_FORMATS])
        if self.n_passkeys < 0 or self.n_completions < 0:
            raise InvalidSpec(gettext("Counts are 0 or more."), remedy=gettext("Correct the numbers."))
