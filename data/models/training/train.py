"""Train the reference model on one GPU (about five minutes on an H200).

    python data/models/training/train.py --corpus build/corpus --out data/models/stdlib-9m

Data: the corpus of ``corpus.py``; in four of ten sequences, passkey facts and questions are strewn
into the text, so that the model learns to find things in its context.
"""

import argparse
import json
import math
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from ngram import KneserNey
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.measuring.passkey import random_facts

CONTEXT_TOKENS = 8192
TOKENS_PER_STEP = 131_072
RETRIEVAL_SHARE = 0.4
PEAK_LR, FINAL_LR_FRACTION, WARMUP_STEPS, WEIGHT_DECAY = 3e-3, 0.03, 100, 1.0
SEED = 20261122


def model_config(vocab_size: int) -> LlamaConfig:
    """About 9.4 M parameters; every matrix is divisible by 128, so that all quantization groups fit."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
    )


class Batches:
    """Random crops of the stream, some with passkey facts and questions inserted at line ends."""

    def __init__(self, stream: np.ndarray, tokenizer: Tokenizer, rng: np.random.Generator) -> None:
        self.stream, self.tokenizer, self.rng = stream, tokenizer, rng
        newline = np.array([tokenizer.decode([i]).endswith("\n") for i in range(tokenizer.get_vocab_size())])
        self.line_ends = np.flatnonzero(newline[stream]) + 1

    def crop(self, length: int) -> np.ndarray:
        """A window that starts at a random position."""
        start = self.rng.integers(0, self.stream.size - length)
        return self.stream[start : start + length].astype(np.int64)

    def with_facts(self, length: int) -> np.ndarray:
        """A window with one to ``length / 256`` facts, each asked once or twice after it was stated."""
        rng = self.rng
        facts = random_facts(int(rng.integers(1, length // 256 + 1)), random.Random(int(rng.integers(2**31))))
        events: list[tuple[float, str]] = []
        for fact in facts:
            stated = 0.0 if rng.random() < 0.1 else float(rng.random() * 0.95)
            events.append((stated, fact.statement))
            for _ in range(int(rng.integers(1, 3))):
                asked = stated + (1 - stated) * float(rng.random())
                events.append((asked, f"{fact.question}{fact.answer}.\n"))
        events.sort()
        pieces = [np.array(e.ids) for e in self.tokenizer.encode_batch([text for _, text in events])]
        room = length - sum(p.size for p in pieces)
        first = int(self.rng.integers(0, self.stream.size - room - 1))
        cuts = first + (np.array([at for at, _ in events]) * room).astype(np.int64)
        ends = self.line_ends[np.minimum(np.searchsorted(self.line_ends, cuts), self.line_ends.size - 1)]
        ends = np.maximum.accumulate(np.minimum(ends, first + room))
        out, at = [], first
        for end, piece in zip(ends, pieces, strict=True):
            out += [self.stream[at:end], piece]
            at = end
        return np.concatenate([*out, self.stream[at : first + room]]).astype(np.int64)

    def batch(self, length: int) -> torch.Tensor:
        """(sequences, length + 1) token ids; inputs and targets overlap."""
        rows = []
        for _ in range(TOKENS_PER_STEP // length):
            make = self.with_facts if self.rng.random() < RETRIEVAL_SHARE else self.crop
            rows.append(make(length + 1))
        return torch.from_numpy(np.stack(rows))


def prefetch(
    make: Callable[[int], Callable[[], torch.Tensor]], depth: int = 8, workers: int = 6
) -> Iterator[torch.Tensor]:
    """Batches made ahead of time by threads (numpy and tokenizers release the lock)."""
    ready: queue.Queue[torch.Tensor] = queue.Queue(depth)

    def work(make_batch: Callable[[], torch.Tensor]) -> None:
        while True:
            ready.put(make_batch().pin_memory())

    for worker in range(workers):
        threading.Thread(target=work, args=(make(worker),), daemon=True).start()
    while True:
        yield ready.get()


def token_loss(model: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood in nats of rows: (sequences, length + 1)."""
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())


@torch.no_grad()
def bits_per_byte(model: torch.nn.Module, stream: np.ndarray, n_bytes: int, *, window: int) -> float:
    """Held-out information content; windows do not overlap, so early tokens of a window lack context."""
    n = (stream.size - 1) // window
    nats = 0.0
    for i in range(n):
        row = torch.from_numpy(stream[i * window : (i + 1) * window + 1].astype(np.int64)).cuda()[None]
        with torch.autocast("cuda", dtype=torch.bfloat16):
            nats += float(token_loss(model, row)) * window
    return nats / math.log(2) / n_bytes * ((stream.size - 1) / (n * window))


@torch.no_grad()
def passkey_accuracy(model: torch.nn.Module, batches: Batches, *, length: int, depth: float, n: int) -> float:
    """Share of exact greedy answers to one question about one fact at a relative depth of the context."""
    rng = random.Random(f"{length}-{depth}")
    hits = 0
    for _ in range(n):
        fact = random_facts(1, rng)[0]
        statement, question, answer = (
            batches.tokenizer.encode(t).ids for t in (fact.statement, fact.question, fact.answer)
        )
        room = length - len(statement) - len(question) - len(answer)
        filler = batches.crop(room)
        cut = int(depth * room)
        ids = np.concatenate([filler[:cut], statement, filler[cut:], question, answer])
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = model(input_ids=torch.from_numpy(ids)[None].cuda(), use_cache=False).logits[0]
        predicted = logits[-len(answer) - 1 : -1].argmax(-1).tolist()
        hits += predicted == answer
    return hits / n


def train(args: argparse.Namespace) -> None:
    """Train, evaluate, and write weights in bf16 with everything the model card needs."""
    started = time.time()
    torch.manual_seed(SEED)
    torch.set_float32_matmul_precision("high")
    tokenizer = Tokenizer.from_file(str(args.corpus / "tokenizer.json"))
    summary = json.loads((args.corpus / "summary.json").read_text())
    train_stream = np.fromfile(args.corpus / "train.bin", dtype=np.uint16)
    held_out = np.fromfile(args.corpus / "held_out.bin", dtype=np.uint16)
    held_out_bytes = summary["n_bytes"]["held_out"]

    model = LlamaForCausalLM(model_config(tokenizer.get_vocab_size())).cuda()
    compiled = torch.compile(model, dynamic=False)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=PEAK_LR,
        betas=(0.9, 0.95),
        fused=True,
    )
    length = [2048]

    def make(worker: int) -> Callable[[], torch.Tensor]:
        batches = Batches(train_stream, tokenizer, np.random.default_rng([SEED, worker]))
        return lambda: batches.batch(length[0])

    history = []
    source = prefetch(make)
    loop_started = time.time()
    step, progress = 0, 0.0
    while progress < 1:
        progress = max(step / args.steps, (time.time() - loop_started) / (60 * args.max_minutes))
        if progress > 0.6 and length[0] != CONTEXT_TOKENS:
            length[0] = CONTEXT_TOKENS
        decay = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        lr = PEAK_LR * min((step + 1) / WARMUP_STEPS, FINAL_LR_FRACTION + (1 - FINAL_LR_FRACTION) * decay)
        for group in optimizer.param_groups:
            group["lr"] = lr
        rows = next(source).cuda(non_blocking=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = token_loss(compiled, rows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0 or progress >= 1:
            model.eval()
            row = {
                "step": step,
                "train_nats_per_token": round(loss.item(), 4),
                "lr": lr,
                "elapsed_s": round(time.time() - loop_started, 1),
            }
            if step % 300 == 0 or progress >= 1:
                row["held_out_bits_per_byte"] = round(bits_per_byte(model, held_out, held_out_bytes, window=2048), 4)
            history.append(row)
            print(json.dumps(row), flush=True)
            model.train()

    training_s = time.time() - loop_started
    model.eval().bfloat16()
    batches = Batches(held_out, tokenizer, np.random.default_rng(SEED))
    retrieval = [
        {
            "context_tokens": n,
            "depth_fraction": d,
            "n": args.n_retrieval,
            "exact_fraction": passkey_accuracy(model, batches, length=n, depth=d, n=args.n_retrieval),
        }
        for n in (512, 1024, 2048, 4096, 8192)
        for d in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    ngram = KneserNey(train_stream, order=5, vocab_size=tokenizer.get_vocab_size())
    ngram_bits = -float(ngram.log2_probability(held_out).sum()) / held_out_bytes
    args.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(args.out)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(args.out)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "hardware": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
        "seed": SEED,
        "training_s": round(training_s, 1),
        "steps": step,
        "tokens_seen": step * TOKENS_PER_STEP,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "held_out_bits_per_byte": {
            "this model, windows of 8192": bits_per_byte(model, held_out, held_out_bytes, window=8192),
            "this model, windows of 2048": bits_per_byte(model, held_out, held_out_bytes, window=2048),
            "Kneser-Ney 5-gram, same tokens": ngram_bits,
        },
        "corpus": summary,
        "retrieval": retrieval,
        "history": history,
    }
    (args.out / "training.json").write_text(json.dumps(report, indent=1))
    print(json.dumps({k: v for k, v in report.items() if k not in {"history", "corpus"}}))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--max-minutes", type=float, default=6.0)
    parser.add_argument("--n-retrieval", type=int, default=50)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
