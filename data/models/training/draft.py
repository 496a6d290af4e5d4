"""Distil the draft of the reference model: ten minutes of one core.

    python data/models/training/draft.py --out data/models/stdlib-draft

A Llama of one narrow layer with the reference model's own embeddings, which stay as they are. First it reads the training modules of
the interpreter's standard library (``corpus.py``: held-out modules are left out), then it learns the reference model's probabilities.
"""

import argparse
import json
import math
import platform
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import torch
from corpus import documents, encode
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

SEQUENCES, TOKENS, SEED = 16, 128, 20261130
PEAK_LR, WARMUP_SHARE, WEIGHT_DECAY = 4e-3, 0.04, 0.1
READING_SHARE = 0.5
"""Share of the time in which it reads; the rest is distillation."""


def draft_config(target: LlamaConfig) -> LlamaConfig:
    """One layer with three heads and a feed-forward network of 192: 1,991,808 parameters, 1,572,864 of them embeddings."""
    return LlamaConfig(
        vocab_size=target.vocab_size,
        hidden_size=target.hidden_size,
        intermediate_size=192,
        num_hidden_layers=1,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=target.max_position_embeddings,
        rope_parameters=dict(target.rope_parameters),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=target.eos_token_id,
        pad_token_id=None,
    )


def crops(stream: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Return windows of random places: (sequences, tokens + 1)."""
    starts = rng.integers(0, stream.size - TOKENS - 1, SEQUENCES)
    return torch.from_numpy(np.stack([stream[s : s + TOKENS + 1] for s in starts]).astype(np.int64))


def agreement(draft: PreTrainedModel, target: PreTrainedModel, stream: np.ndarray) -> float:
    """Return the share of held-out places at which both models would write the same token."""
    rng, same = np.random.default_rng(SEED), []
    with torch.inference_mode():
        for _ in range(4):
            ids = crops(stream, rng)[:, :-1]
            same.append(draft(ids).logits.argmax(-1) == target(ids).logits.argmax(-1))
    return float(torch.stack(same).float().mean())


def main() -> None:
    """Train, and write weights in bf16 with how they were made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=Path("data/models/stdlib-9m"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="processor time of one core")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    every = list(documents(Path(sysconfig.get_path("stdlib")), None))
    tokenizer = Tokenizer.from_file(str(args.target / "tokenizer.json"))
    stream, held_out = (
        encode(tokenizer, [d for d in every if d.is_held_out == is_held_out]) for is_held_out in (False, True)
    )
    target = AutoModelForCausalLM.from_pretrained(args.target, dtype=torch.float32).eval()
    draft = LlamaForCausalLM(draft_config(target.config))
    draft.model.embed_tokens.load_state_dict(target.model.embed_tokens.state_dict())
    draft.model.norm.load_state_dict(target.model.norm.state_dict())
    draft.model.embed_tokens.requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(
        [p for p in draft.parameters() if p.requires_grad],
        lr=PEAK_LR,
        betas=(0.9, 0.95),
        weight_decay=WEIGHT_DECAY,
    )
    began, step, progress, n_tokens, history = time.process_time(), 0, 0.0, {"read": 0, "distilled": 0}, []
    while progress < 1:
        progress = (time.process_time() - began) / (60 * args.minutes)
        warm, cold = progress / WARMUP_SHARE, 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * max(0.02, min(warm, cold))
        ids = crops(stream, rng)
        logits = draft(ids[:, :-1], use_cache=False).logits.flatten(0, 1)
        if progress < READING_SHARE:
            loss, kind = cross_entropy(logits, ids[:, 1:].flatten()), "read"
        else:
            with torch.inference_mode():
                wanted = softmax(target(ids[:, :-1], use_cache=False).logits.flatten(0, 1), -1)
            loss, kind = kl_div(log_softmax(logits, -1), wanted.clone(), reduction="batchmean"), "distilled"
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(draft.parameters(), 1.0)
        optimizer.step()
        step, n_tokens[kind] = step + 1, n_tokens[kind] + SEQUENCES * TOKENS
        if step % 50 == 0 or progress >= 1:
            history.append(
                {
                    "step": step,
                    "phase": kind,
                    "loss_nat_per_token": round(loss.item(), 4),
                    "progress": round(progress, 3),
                }
            )
            print(json.dumps(history[-1]), flush=True)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "hardware": f"one core, {platform.machine()}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seed": SEED,
        "processor_s": round(time.process_time() - began, 1),
        "steps": step,
        "n_tokens": n_tokens,
        "n_parameters": sum(p.numel() for p in draft.parameters()),
        "held_out_agreement_fraction": round(agreement(draft.eval(), target, held_out), 4),
        "history": history,
    }
    draft.bfloat16().save_pretrained(args.out)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (args.out / name).write_bytes((args.target / name).read_bytes())
    (args.out / "training.json").write_text(json.dumps(report, indent=1))
    print(json.dumps({k: v for k, v in report.items() if k != "history"}))


if __name__ == "__main__":
    main()
