"""What each flag contributes to the score of the best setting of a run."""

from dataclasses import dataclass, fields, replace

from workbench.core.language import gettext
from workbench.engines.vllm_settings import VllmSetting
from workbench.questions.tuning.findings import Tuned

FLAG_NAMES = {
    "max_num_batched_tokens": gettext("tokens of a step"),
    "max_num_seqs": gettext("sequences"),
    "prefix_caching": gettext("prefix cache"),
    "chunked_prefill": gettext("chunked prefill"),
    "long_prefill_token_threshold": gettext("long prompts by"),
    "async_scheduling": gettext("async scheduling"),
    "kv_cache_dtype": gettext("KV cache"),
    "tensor_parallel_size": "TP",
    "checkpoint": gettext("weights"),
    "extra": gettext("flags"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """The chosen setting with one flag changed."""

    flag: str
    value: str
    change_fraction: float
    """Of the score, from the chosen setting."""
    is_measured: bool
    is_chosen: bool


def contributions(tuned: Tuned) -> list[Contribution]:
    """Return what each flag contributes: settings that differ from the best one in one flag alone."""
    best = tuned.best
    made: list[Contribution] = []
    for f in fields(VllmSetting):
        value = getattr(best.result.setting, f.name)
        others = [
            j
            for j in tuned.settings
            if getattr(j.result.setting, f.name) != value
            and replace(j.result.setting, **{f.name: value}) == best.result.setting
        ]
        if others:
            its = sorted([best, *others], key=lambda j: str(getattr(j.result.setting, f.name)).rjust(12))
            found = [
                Contribution(
                    flag=FLAG_NAMES[f.name],
                    value=_value(getattr(j.result.setting, f.name)),
                    change_fraction=change,
                    is_measured=j.is_measured,
                    is_chosen=j is best,
                )
                for j in its
                if (change := tuned.over(j, best)) is not None
            ]
            made += found if len(found) > 1 else []
    return made


def _value(value: object) -> str:
    if isinstance(value, bool):
        return gettext("on") if value else gettext("off")
    if isinstance(value, tuple):
        return " ".join(value) or gettext("none")
    return gettext("as the model") if value in (None, "auto") else str(value)
