"""The calculator of a picture's tokens, memory, time and price."""

from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.models import catalog_models
from workbench.catalog.vision import vision_model, vision_models
from workbench.core.errors import WorkbenchError
from workbench.core.units import shown_bytes, shown_duration
from workbench.estimate.image_cost import image_request
from workbench.estimate.image_time import Asked, encoder_work, request_tokens
from workbench.estimate.image_tokens import image_tokens
from workbench.experiments.device_calibration import machine_of
from workbench.figures.images import tokens_by_size
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block

TITLE = "What does a picture cost?"
FAMILIES = (
    "Qwen/Qwen3-VL-8B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "OpenGVLab/InternVL3-8B-hf",
    "google/gemma-3-12b-it (text)",
    "llava-hf/llava-v1.6-mistral-7b-hf",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
)
SIDES = tuple(range(112, 2017, 56))
DEVICE = "h200-sxm"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensState:
    """Everything that the calculator is drawn from."""

    model: str = FAMILIES[0]
    height_px: int = 896
    width_px: int = 1344
    n_images: int = 1
    text_tokens: int = 64
    usd_per_hour: float = 3.5


class TokensPanel(AnswerPanel):
    """Computes at once; nothing is measured."""

    tab_titles = ("All models", "As code")
    can_run = False
    n_plots = 1

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__("image_tokens", css_class="wb-tokens", manager=manager, poll_s=poll_s)
        self.state = TokensState()
        later = {"continuous_update": False}
        self.controls = {
            "model": labelled(widgets.Dropdown, "Model", value=FAMILIES[0], options=list(vision_models())),
            "height_px": labelled(widgets.BoundedIntText, "Height, pixels", value=896, min=1, max=20000, **later),
            "width_px": labelled(widgets.BoundedIntText, "Width, pixels", value=1344, min=1, max=20000, **later),
            "n_images": labelled(widgets.BoundedIntText, "Pictures in a request", value=1, min=1, max=100, **later),
            "text_tokens": labelled(
                widgets.BoundedIntText, "Words beside them, tokens", value=64, min=0, max=10**6, **later
            ),
            "usd_per_hour": labelled(
                widgets.BoundedFloatText, "An H200 costs, USD/h", value=3.5, min=0, max=100, **later
            ),
        }
        self.build(list(self.controls.values()))
        self.draw()

    def view(self) -> AnswerView:
        """The answer to the state."""
        s = self.state
        header = f"<h2>{TITLE}</h2><p class='sub'>◌ computed as the model's processor does; {escape(vision_model(s.model).source)}</p>"
        code = code_block(
            "from workbench.catalog.vision import vision_model\nfrom workbench.estimate.image_tokens import image_tokens\n\n"
            f"image_tokens(vision_model({s.model!r}), height_px={s.height_px}, width_px={s.width_px})"
        )
        try:
            answer = tokens_verdict(s)
            rows = tokens_rows(s)
        except WorkbenchError as error:
            card = message_card("failure", "Not possible.", error.cause, error.remedy)
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", code), run=None)
        drawn = list(dict.fromkeys([s.model, *FAMILIES]))[:6]
        return AnswerView(
            header=header,
            answer=answer.replace("<p>● ", "<p>◌ "),
            figures=(lambda: tokens_by_size(SIDES, {m.split("/")[-1]: side_tokens(m) for m in drawn}, shown=0),),
            table=rows,
            tabs=(lambda: all_models(s), code),
            run=None,
        )


@lru_cache(maxsize=64)
def side_tokens(model: str) -> tuple[int, ...]:
    """Tokens of squares."""
    v = vision_model(model)
    return tuple(image_tokens(v, height_px=side, width_px=side).n_tokens for side in SIDES)


def _asked(s: TokensState) -> Asked:
    return Asked(height_px=s.height_px, width_px=s.width_px, n_images=s.n_images, text_tokens=s.text_tokens)


def tokens_verdict(s: TokensState) -> str:
    """Tokens of the request, and what they are worth in words and in time."""
    v = vision_model(s.model)
    t = image_tokens(v, height_px=s.height_px, width_px=s.width_px)
    total = request_tokens(v, _asked(s))
    share = 100 * s.n_images * t.n_tokens / total
    return verdict_card(
        f"{t.n_tokens:,} tokens a picture; the prompt has {total:,}, of which pictures are {share:.0f} %.",
        f"{s.height_px} × {s.width_px} pixels become {t.n_squares} of {t.height_px} × {t.width_px}, and {t.n_patches:,} patches in the encoder "
        f"({encoder_work(v, t).flop / 1e12:.2f} TFLOP).",
        "Tokens follow the processor's defaults; a service may limit pixels, and then a picture costs less.",
        is_stale=False,
    )


def tokens_rows(s: TokensState) -> str:
    """Memory, time and money of a request."""
    try:
        machine = machine_of(DEVICE)[0]
    except WorkbenchError:
        machine = None
    found = image_request(
        vision_model(s.model),
        _asked(s),
        model=catalog_models().get(s.model),
        machine=machine,
        usd_per_hour=s.usd_per_hour,
    )
    rows = [("encoder and projector, bf16", f"{shown_bytes(found.encoder_bytes)} ◌")]
    if found.kv_bytes is not None and found.picture_kv_bytes is not None:
        rows.append(("KV cache of the request, bf16", f"{shown_bytes(found.kv_bytes)} ◌"))
        rows.append(("of which pictures", f"{shown_bytes(found.picture_kv_bytes)} ◌"))
    if found.parts is not None:
        encoder = shown_duration(found.parts.encoder_s)
        rows.append(
            (
                "an H200's work until the first token",
                f"{shown_duration(found.parts.ttft_s)} ◌, of which encoder {encoder}",
            )
        )
    if found.usd_per_thousand_requests is not None:
        rows.append(("a thousand requests, if it does nothing else", f"{found.usd_per_thousand_requests:.3f} USD ◌"))
    return table(("What", "computed"), rows)


def all_models(s: TokensState) -> str:
    """The same picture for every model."""
    rows: list[tuple[str, ...]] = []
    for name, v in vision_models().items():
        try:
            t = image_tokens(v, height_px=s.height_px, width_px=s.width_px)
            cells = (
                f"{t.n_tokens:,}",
                f"{t.n_squares} × ({t.height_px} × {t.width_px})",
                f"{encoder_work(v, t).flop / 1e12:.2f}",
            )
        except WorkbenchError as error:
            rows.append((escape(name), escape(error.cause)))
            continue
        rows.append((escape(name), *cells))
    return table(("Model ◌", "tokens", "encoder sees", "TFLOP"), rows)


def panel(**options: Any) -> TokensPanel:
    """The calculator."""
    return TokensPanel(**options)
