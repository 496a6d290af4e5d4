"""Times requests with images inside vLLM. Runs in vLLM's own environment, so it imports nothing of the workbench.

    python images.py REQUEST.json

The request (JSON): ``model``, ``text_tokens``, ``words``, ``most_images``, ``processor_cache_gib``, ``prefix_caching``,
``max_model_len``, ``options`` and ``seed``. When the engine is ready, it prints a line with ``ready_s``; then each line of standard
input is a command (``do``: "text", "images", "about" or "hash") and is answered by one line.

Times of the encoder and of the projector come from CUDA events around their modules, on a CPU from the clock; the
engine core runs in this process, so that nothing lies between.
"""

import json
import os
import random
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vllm import LLM

IMAGE_MARK = "<|vision_start|><|image_pad|><|vision_end|>"
MARKS: list[tuple[str, Any, Any]] = []
"""What modules ran since it was emptied: name, begin and end."""


def tell(**values: object) -> None:
    """One line for the process that waits."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def watch(model: Any) -> dict[str, int]:
    """Time the encoder and each projector of a model from now on, and return their sizes."""
    import torch

    on_gpu = next(model.parameters()).is_cuda

    def now() -> Any:
        if not on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def marked(name: str, module: Any) -> None:
        plain = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            began = now()
            made = plain(*args, **kwargs)
            MARKS.append((name, began, now()))
            return made

        module.forward = forward

    visual = model.visual
    marked("encoder", visual)
    projectors = [visual.merger, *getattr(visual, "deepstack_merger_list", [])]
    for module in projectors:
        marked("projector", module)
    return {"encoder_params": sum(p.numel() for p in visual.parameters()), "n_projectors": len(projectors)}


def marked_s() -> dict[str, float]:
    """Return the seconds that each part took since the last call."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    total: dict[str, float] = {"encoder": 0.0, "projector": 0.0}
    for name, began, ended in MARKS:
        total[name] += began.elapsed_time(ended) / 1e3 if hasattr(began, "elapsed_time") else ended - began
    MARKS.clear()
    return total


class Asking:
    """Sends single requests and times them."""

    def __init__(self, llm: "LLM", request: SimpleNamespace) -> None:
        self.engine, self.request = llm.llm_engine, request
        self.rng = random.Random(request.seed)
        self.seen: dict[tuple[int, int], Any] = {}
        self.n = 0
        self.words = request.words

    def picture(self, height: int, width: int) -> Any:
        """Return an image of smooth colours with noise, which compresses as photographs do; no two are alike."""
        from PIL import Image

        rng = np.random.default_rng(self.rng.randrange(2**32))
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height)), np.int16)
        noisy = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))

    def text(self, n: int) -> str:
        """Return a text of ``n`` words, each one token."""
        return " ".join(self.rng.choices(self.words, k=n))

    def first_token(self, prompt: dict[str, Any]) -> dict[str, float]:
        """Return the times of a single request until its first token."""
        from vllm import SamplingParams

        sampling = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True, detokenize=False)
        marked_s()
        self.n += 1
        began = time.perf_counter()
        self.engine.add_request(f"r{self.n}", prompt, sampling)
        accepted = time.perf_counter()
        tokens = 0
        ended = accepted
        while self.engine.has_unfinished_requests():
            for output in self.engine.step():
                if output.outputs[0].token_ids and not tokens:
                    ended = time.perf_counter()
                    tokens = len(output.prompt_token_ids or [])
        parts = marked_s()
        return {
            "ttft_s": ended - began,
            "accept_s": accepted - began,
            "encoder_s": parts["encoder"] - parts["projector"],
            "projector_s": parts["projector"],
            "prompt_tokens": tokens,
        }

    def with_pictures(self, pictures: list[Any], *, n_text: int, picture_first: bool) -> dict[str, float]:
        """Return the times of a request with images before or after its text."""
        marks, words = IMAGE_MARK * len(pictures), self.text(n_text)
        text = f"{marks} {words}" if picture_first else f"{words} {marks}"
        data = {"prompt": text}
        if pictures:
            data["multi_modal_data"] = {"image": pictures}  # type: ignore[assignment]
        return self.first_token(data)

    def picture_request(self, height: int, width: int, n: int) -> dict[str, float]:
        """Return the times of a request with new images after its text."""
        pictures = [self.picture(height, width) for _ in range(n)]
        return self.with_pictures(pictures, n_text=self.request.text_tokens, picture_first=False)

    def text_request(self, n: int) -> dict[str, float]:
        """Return the times of a request of ``n`` tokens without an image."""
        return self.first_token({"prompt_token_ids": [self.rng.randrange(1000, 8000) for _ in range(n)]})

    def about(self, height: int, width: int, *, is_hit: bool) -> dict[str, float]:
        """Return the times of a request that begins with an image: always the same one, or a new one."""
        if (height, width) not in self.seen:
            self.seen[height, width] = self.picture(height, width)
            self.about(height, width, is_hit=True)
        picture = self.seen[height, width].copy() if is_hit else self.picture(height, width)
        return self.with_pictures([picture], n_text=self.request.text_tokens, picture_first=True)

    def answer(self, c: dict[str, Any]) -> dict[str, float]:
        """Return the times of the request that a command asks for."""
        if c["do"] == "text":
            return self.text_request(c["n"])
        if c["do"] == "images":
            return self.picture_request(c["height"], c["width"], c["n"])
        if c["do"] == "about":
            return self.about(c["height"], c["width"], is_hit=c["is_hit"])
        return {"hash_s": self.hash_s(c["height"], c["width"])}

    def hash_s(self, height: int, width: int) -> float:
        """Return the median time of vLLM's hash of an image, in seconds."""
        try:
            from vllm.multimodal.hasher import MultiModalHasher
        except ImportError:
            return 0.0
        took = []
        for _ in range(9):
            picture = self.picture(height, width)
            began = time.perf_counter()
            try:
                MultiModalHasher.hash_kwargs(model_id="m", image=picture)
            except TypeError:  # later versions are told the algorithm
                MultiModalHasher.hash_kwargs("blake3", model_id="m", image=picture)
            took.append(time.perf_counter() - began)
        return sorted(took)[4]


def main() -> None:
    """Read the request, start the engine and answer commands until the input ends."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    request = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    from vllm import LLM

    began = time.perf_counter()
    llm = LLM(
        model=request.model,
        load_format="dummy",
        max_model_len=request.max_model_len,
        max_num_batched_tokens=request.max_model_len,
        max_num_seqs=4,
        limit_mm_per_prompt={"image": request.most_images, "video": 0},
        mm_processor_cache_gb=request.processor_cache_gib,
        enable_prefix_caching=request.prefix_caching,
        disable_log_stats=True,
        seed=request.seed,
        **request.options,
    )
    shape = llm.apply_model(watch)[0]
    asking = Asking(llm, request)
    for _ in range(2):  # kernels are chosen and compiled at first sight
        asking.picture_request(448, 448, 1)
    tell(ready_s=time.perf_counter() - began, **shape)
    for line in sys.stdin:
        tell(**asking.answer(json.loads(line)))


if __name__ == "__main__":
    main()
