"""What vLLM needs to serve a shape that takes images, with dummy weights: ``python -m workbench.engines.image_model SHAPE TARGET``.

Processor and tokenizer are made up from the configuration: the processor's limits are facts of the shape, the words of
the tokenizer are the reference model's, filled up; image marks get the ids that the configuration names.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from workbench.engines.random_model import filled_up

FIRST_MARK = "<|endoftext|>"
# Qwen's marks and how far each lies from the image mark (Qwen3-VL's configuration gives 151655; the others are its tokenizer's).
MARKS = {
    FIRST_MARK: -12,
    "<|im_start|>": -11,
    "<|im_end|>": -10,
    "<|vision_start|>": -3,
    "<|vision_end|>": -2,
    "<|vision_pad|>": -1,
    "<|image_pad|>": 0,
    "<|video_pad|>": 1,
}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_image_model(shape: Path, target: Path, *, tokenizer: Path) -> None:
    """Fill a folder from one with ``config.json`` and ``preprocessor_config.json`` of a Qwen-VL-like model.

    The ``tokenizer`` (a ``tokenizer.json``) is smaller than the shape's vocabulary.
    """
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(shape / name, target / name)
    config, picture = (json.loads((shape / n).read_text("utf-8")) for n in ("config.json", "preprocessor_config.json"))
    words = json.loads(tokenizer.read_text(encoding="utf-8"))
    (target / "tokenizer.json").write_text(json.dumps(with_marks(words, config)))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": FIRST_MARK,
        "chat_template": TEMPLATE,
        "model_max_length": config["text_config"]["max_position_embeddings"],
    }
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    video = {k: v for k, v in picture.items() if k != "image_processor_type"}
    video |= {"video_processor_type": "Qwen3VLVideoProcessor"}
    (target / "video_preprocessor_config.json").write_text(json.dumps(video))


def with_marks(tokenizer: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return a tokenizer with as many ids as the shape has, the marks among them."""
    image = config["image_token_id"]
    ids = {image + off: mark for mark, off in MARKS.items()}
    tokenizer["added_tokens"] = [t for t in tokenizer.get("added_tokens", []) if t["content"] not in MARKS]
    shape = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer["added_tokens"] += [{"id": number, "content": mark, **shape} for number, mark in sorted(ids.items())]
    tokenizer["model"]["vocab"] |= {mark: number for number, mark in ids.items()}  # only these keep ids of their own
    return filled_up(tokenizer, config["text_config"]["vocab_size"])


def main() -> None:
    """Read the three paths and write the folder."""
    shape, target, tokenizer = map(Path, sys.argv[1:4])
    write_image_model(shape, target, tokenizer=tokenizer)


if __name__ == "__main__":
    main()
