"""Small random models of many architectures through the commands that measure a model, each figure against a loop of its own over transformers.

    python benchmarks/architectures.py OUT [--types mixtral,gpt2] [--commands quantize,evaluate] [--onnx]

A cell is "right", "refused" with its sentence, or WRONG with what differs. Models are made in OUT with the reference model's tokenizer;
results are added to OUT/results.jsonl, and what lies there is not measured again. The last lines are the table of docs/measured.md.
"""

import argparse
import json
import os
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the small configurations are shared with the tests

import numpy as np
import torch
from support.small_models import small_fields
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging
from typer.testing import CliRunner

from workbench.app.main import app
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL, located
from workbench.compress.quality import window_quality
from workbench.compress.spec import QuantizationSpec
from workbench.compress.torch_model import TorchModel
from workbench.core.errors import WorkbenchError
from workbench.core.ports import Generation
from workbench.engines.openai_server import open_engine
from workbench.measuring.envelope import run
from workbench.questions.edge.rows import VariantResult
from workbench.questions.edge.spec import EdgeSpec
from workbench.questions.long_context.quality.rows import TextStretch
from workbench.questions.long_context.quality.spec import ContextQualitySpec
from workbench.questions.long_context.spec import LongContextSpec
from workbench.questions.quantization.evaluation.measure import Tasks
from workbench.questions.quantization.evaluation.rows import candidates_of
from workbench.questions.quantization.evaluation.spec import EvaluationSpec
from workbench.questions.quantization.sensitivity.rows import GroupDamage, LayerCoverage, PlanResult
from workbench.questions.quantization.sensitivity.spec import SensitivitySpec
from workbench.questions.utilization.batch_size.rows import BatchTrial
from workbench.questions.utilization.batch_size.spec import BatchSearchSpec

TYPES = (*sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES), "t5")
INPUTS_FIRST = {"gpt_oss", "llama4_text"}
"""Types whose experts are stored (experts, inputs, outputs)."""
KEPT = re.compile(
    r"bias$|(?<!un)embed|wte|wpe|shared\.weight|lm_head\.(weight|decoder)|embed_out|output_layer|(^|\.)router|(^|\.)(shared_expert_)?gate\.(weight|wg)|(^|\.)gate$|norm\w*\.weight|conv\w*\.weight|A_log|(mixer|mamba)\.dt_proj|encoder_attn|o_a_proj|hc\.fn|"
    r"hc_fn|dt_bias|time_|expert_bias|bias_k|ssm_D|\.ln_|sinks|r_k|head\.weight"
)
"""Parameters that formats of serving engines leave in float."""
N_TOKENS = 96
TOLERANCE = 0.03
LARGEST = 20_000_000
"""Weights of a model that is made; classes whose parts have configurations of their own have more by default."""


class Wrong(Exception):
    """A figure of the workbench that differs from an own calculation."""


def same(what: str, got: float, expected: float, *, tolerance: float = TOLERANCE) -> None:
    """Raise ``Wrong`` where two figures differ by more than a share."""
    if not np.isfinite(got) or abs(got - expected) > tolerance * abs(expected) + 1e-9:
        raise Wrong(f"{what}: {got:.6g} instead of {expected:.6g}")


def positive(what: str, *values: float) -> None:
    """Raise ``Wrong`` where a figure is zero or not finite."""
    if not values or not all(np.isfinite(v) and v > 0 for v in values):
        raise Wrong(f"{what}: {values[:4]}")


def made(model_type: str, out: Path) -> Path:
    """Return a folder with a small model of a type whose weights are large enough that damage shows."""
    folder = out / model_type
    if (folder / "model.safetensors").exists():
        return folder
    fields = small_fields(model_type)
    fields |= {"vocab_size": 4096} | ({"max_position_embeddings": 512} if "max_position_embeddings" in fields else {})
    for name in ("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "ffn_dim"):
        if name in fields and model_type not in {"gemma3n_text"}:
            fields[name] = 64
    fields |= {k: 4096 for k in ("vocab_size_per_layer_input",) if k in fields}
    fields |= {k: 512 for k in ("n_positions", "n_ctx", "max_seq_len", "context_length") if k in fields}
    fields |= {k: 8 for k in ("num_experts", "num_local_experts") if isinstance(fields.get(k), int) and fields[k] > 8}
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    torch.manual_seed(0)
    kind = AutoModelForCausalLM if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else AutoModel
    with torch.device("meta"):
        n_weights = sum(p.numel() for p in kind.from_config(config).parameters())
    if n_weights > LARGEST:
        raise ValueError(f"{n_weights:,} weights")
    model = kind.from_config(config, dtype=torch.float32)
    save_sharper(model, folder)
    return folder


@torch.no_grad()
def save_sharper(model: PreTrainedModel, folder: Path) -> None:
    """Write a model with matrices four times their initial size and random biases, norms and what is zero at first, so that its answers differ, and the reference model's tokenizer."""
    for parameter in model.parameters():
        if parameter.ndim >= 2 and parameter.any():
            parameter.mul_(4.0)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(located(REFERENCE_MODEL)) / name, folder)


@torch.no_grad()
def logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Return logits of ids, (tokens,), read in one pass: (tokens, vocabulary)."""
    out: torch.Tensor = model(input_ids=ids[None], use_cache=False).logits[0].float()
    return out


def nll(model: PreTrainedModel, window: np.ndarray) -> float:
    """Return the mean negative log-likelihood of the tokens of a window after its first."""
    ids = torch.from_numpy(window)
    logp = torch.log_softmax(logits(model, ids[:-1]).double(), -1)
    return -float(logp.gather(-1, ids[1:, None]).mean())


def kl(model: PreTrainedModel, other: PreTrainedModel, ids: torch.Tensor) -> float:
    """Return the mean KL divergence of another model on ids."""
    p, q = (torch.log_softmax(logits(m, ids).double(), -1) for m in (model, other))
    return float((p.exp() * (p - q)).sum(-1).mean())


def require_greedy(model: PreTrainedModel, prompt: torch.Tensor, answer: Sequence[int]) -> None:
    """Raise ``Wrong`` where a token of an answer is not the most likely one after all before it."""
    ids = prompt
    for token in answer:
        top = logits(model, ids)[-1]
        if float(top.max() - top[token]) > 1e-3:
            raise Wrong(f"token {token} after {len(ids)} tokens instead of {int(top.argmax())}")
        ids = torch.cat([ids, torch.tensor([token])])


class Own:
    """A folder, and the model as transformers alone reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, str(folder)
        self.ids = torch.arange(7, 7 + N_TOKENS) * 37 % 4096

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model; raises ``Wrong`` where transformers does not read it, as the workbench has measured something."""
        try:
            return AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()
        except Exception as error:  # transformers has many kinds
            raise Wrong(f"measured, though transformers says {type(error).__name__}: {error}") from error

    @cached_property
    def n_weights(self) -> int:
        """The number of all weights."""
        return sum(p.numel() for p in self.model.parameters())

    def int8(self) -> tuple[PreTrainedModel, int]:
        """Return a copy with every matrix of a linear layer or an expert on a grid of 8 bits per row, and the number of those weights."""
        model = deepcopy(self.model)
        conv1d = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, Conv1D)}
        heads = {id(m.weight) for m in (model.get_output_embeddings(), model.get_input_embeddings()) if m is not None}
        count, seen = 0, set(heads)
        for name, parameter in model.named_parameters():
            if parameter.ndim not in {2, 3} or KEPT.search(name) or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            turned = name in conv1d or (parameter.ndim == 3 and model.config.model_type in INPUTS_FIRST)
            w = parameter.data.transpose(-1, -2) if turned else parameter.data
            scale = w.abs().amax(-1, keepdim=True) / 127.5
            w = (w * (1 / scale)).round().clamp(-128, 127) * scale
            parameter.data = w.transpose(-1, -2) if turned else w
            count += parameter.numel()
        return model, count


def quantize(own: Own) -> None:
    """INT8 weights: float logits, tokens of the timed steps, share of the weights, bytes, KL."""
    spec = QuantizationSpec(model=own.place, prompt_tokens=40, decode_tokens=4)
    plain = TorchModel(spec, "fp32", device="cpu")
    reference = logits(own.model, own.ids)
    difference = float((plain.logits(own.ids) - reference).abs().max())
    same("largest difference of FP32 logits + 1", 1 + difference, 1, tolerance=1e-3)
    variant = TorchModel(spec, "int8-weight", device="cpu")
    by_hand, n = own.int8()
    same("quantized weights", sum(c.n_quantized for c in variant.coverage), n, tolerance=0)
    same("all weights", sum(c.n_weights for c in variant.coverage), own.n_weights, tolerance=0)
    got = window_quality(reference, variant.logits(own.ids), own.ids).kl_nat.mean()
    positive("KL", got)
    same("KL", float(got), kl(own.model, by_hand, own.ids), tolerance=0.1)
    same("saved bytes", plain.weight_bytes - variant.weight_bytes, 3 * n, tolerance=0.2)
    positive("times", plain.prefill_s(), *plain.decode_s(1))
    generator = torch.Generator().manual_seed(spec.seed)
    prompt = torch.randint(4096, (1, spec.prompt_tokens), generator=generator)
    named = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    _, *rest = own.model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), **named)[0, 40:].tolist()
    timed = plain.decoded(1)[0].tolist()
    if timed != rest:  # some classes decode otherwise than they read, and some suppress tokens when they generate
        first = logits(own.model, prompt[0])[-1].argmax()[None]
        require_greedy(own.model, torch.cat([prompt[0], first]), timed)


def sensitivity(own: Own) -> None:
    """One format in every layer group: weights, damage of each group, and of a whole plan."""
    spec = SensitivitySpec(
        model=own.place,
        formats=("w8a16",),
        n_windows=2,
        window_tokens=64,
        n_samples=2,
        budgets_bits=(12.0,),
        n_random=1,
        random_budget_bits=12.0,
    )
    result = run(spec)
    _, n = own.int8()
    same("weights of the groups", sum(r.n_weights for r in result.rows(GroupDamage)), n, tolerance=0)
    positive("KL of groups", *(r.kl_nat_per_token.value for r in result.rows(GroupDamage)))
    positive("KL of plans", *(r.verified_kl_nat_per_token.value for r in result.rows(PlanResult)))
    same("coverage", sum(c.n_quantized for c in result.rows(LayerCoverage)[0].coverage), n, tolerance=0)


def shell(*words: str) -> str:
    """Return what a command prints; raises what it raises, and ``WorkbenchError`` where it only prints why not."""
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        raise WorkbenchError(" ".join(result.output.split())[-300:], remedy="as printed")
    return result.output


def plan(own: Own) -> None:
    """Plans, and the parameters that they count."""
    spec = model_spec_from(own.place)
    same("parameters", spec.n_params, own.n_weights, tolerance=0)
    idle, of_experts = 0, [p for n, p in own.model.named_parameters() if "expert" in n]
    if of_experts:
        out = own.model(input_ids=own.ids[None, :1], use_cache=False).logits
        (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
        idle = sum(p.numel() if p.grad is None else int((p.grad == 0).sum()) for p in of_experts)
        own.model.zero_grad()
    same("parameters that a token passes", spec.n_active_params, own.n_weights - idle)
    shell("plan", own.place, "--input-tokens", "64", "--output-tokens", "16", "--on", "h200-sxm")


def recipe(own: Own) -> None:
    """A recipe that names every quantized matrix of the model, experts by a pattern."""
    from workbench.compress.folder import folder_layers

    layers, groups = folder_layers(own.place)
    text = json.loads(
        shell("checkpoints", own.place, "--plan", json.dumps({g.name: "w8a16" for g in groups}), "--recipe")
    )
    targets = text["quantization_stage"]["quantization_modifiers"]["GPTQModifier"]["config_groups"]["w8a16"]["targets"]
    named = [m for m in layers.linears for t in targets if (re.match(t[3:], m) if t.startswith("re:") else t == m)]
    same("weights that it names", sum(layers.linears[m].weight.numel() for m in named), own.int8()[1], tolerance=0)


def evaluate(own: Own) -> None:
    """A candidate with changed weights, and an INT8 cache: perplexity and KL."""
    other = own.folder.with_name(own.folder.name + "-changed")
    small = {"window_tokens": 64, "n_passkeys": 2, "passkey_tokens": 128, "n_completions": 2}
    spec = EvaluationSpec(model=own.place, candidates=(str(other), "kv:int8-token"), n_windows=2, **small)
    try:
        changed, _ = own.int8()
    except Wrong:
        run(replace(spec, candidates=("kv:int8-token",)))
        raise
    changed.save_pretrained(other)
    try:
        result = run(spec)
    finally:
        shutil.rmtree(other)
    rows = {r.folder: r for r in candidates_of(result)}
    if str(other) not in rows:
        raise WorkbenchError(result.failures[0].cause, remedy="")
    windows, row = Tasks(spec).windows, rows[str(other)]
    perplexity = np.exp(np.mean([nll(changed, w) for w in windows]))
    same("perplexity", row.accuracy.perplexity, float(perplexity))
    divergence = [kl(own.model, changed, torch.from_numpy(w[:-1])) for w in windows]
    same("KL", row.kl_nat_per_token, float(np.mean(divergence)))
    if "kv:int8-token" in rows:
        positive("KL of the cache", rows["kv:int8-token"].kl_nat_per_token)
    elif not any(f.cause for f in result.failures):
        raise Wrong("The cache format has neither a row nor a reason")


def tensors(kept: object) -> Iterator[torch.Tensor]:
    """Yield the floating-point tensors of a cache and its layers."""
    if isinstance(kept, torch.Tensor):
        yield from (kept,) if kept.is_floating_point() else ()
    elif isinstance(kept, dict | list | tuple):
        yield from (t for part in (kept.values() if isinstance(kept, dict) else kept) for t in tensors(part))
    elif type(kept).__module__.startswith("transformers") and hasattr(kept, "__dict__"):
        yield from tensors(vars(kept))


def long_context(own: Own) -> None:
    """Prefills in pieces, and the bytes of the cache."""
    result = run(
        LongContextSpec(
            model=own.place, lengths=(64, 128), chunks=(32,), decode_steps=4, caches=("dynamic",), search=False
        )
    )
    whole = [r for r in result.results if getattr(r, "length_tokens", 0) == 128 and hasattr(r, "kv_held_bytes")]
    refused = [r for r in result.results if type(r).__name__ == "NotMeasured"]
    if not whole:
        raise WorkbenchError(refused[0].reason if refused else "No row and no reason", remedy="")
    with torch.no_grad():
        out = own.model(input_ids=torch.arange(whole[0].kv_held_tokens)[None] % 4096, use_cache=True)
    kept = next(out[name] for name in ("past_key_values", "cache_params", "state") if out.get(name) is not None)
    held = sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors(kept)}.values() if t.dim() > 1)
    same("cache bytes", whole[0].kv_held_bytes, held, tolerance=0.02)
    if whole[0].kv_predicted_bytes is not None:
        window = getattr(own.model.config, "sliding_window", None) or 1000
        spared = 1 / (window - 1)  # transformers keeps one token less than the window, as the next one completes it
        same("predicted cache bytes", whole[0].kv_predicted_bytes, held, tolerance=max(0.05, 1.01 * spared))
    positive("times", whole[0].ttft_s, whole[0].step_p50_s)


def context_quality(own: Own) -> None:
    """Full attention's surprise, and the divergence of a window."""
    spec = ContextQualitySpec(
        model=own.place,
        variants=("full", "window:32"),
        lengths=(128,),
        n_depths=2,
        n_per_cell=1,
        n_windows=1,
        window_tokens=128,
        tasks=("single",),
    )
    result = run(spec)
    from workbench.questions.long_context.quality.measure import _windows

    full = [r for r in result.rows(TextStretch) if r.variant == "full"]
    sizes = [r.end_position - r.first_position for r in full]
    surprise = sum(r.nll_nat_per_token * n for r, n in zip(full, sizes, strict=True)) / sum(sizes)
    same("surprise of full attention", surprise, nll(own.model, _windows(spec)[0]))
    window = [r.kl_nat_per_token for r in result.rows(TextStretch) if r.variant == "window:32"]
    if window:
        positive("KL of the window", max(window))
    elif not result.failures:
        raise Wrong("The window has neither a row nor a reason")


def serve(own: Own) -> None:
    """Three requests at once: the tokens of a greedy loop without a cache."""
    engine = open_engine("torch", own.folder, device="cpu", dtype=None, random_weights=False)
    prompts = [own.ids[:n].tolist() for n in (5, 40, 70)]
    try:
        wishes = [Generation(prompt=tuple(p), max_tokens=6, ignore_eos=True) for p in prompts]
        with ThreadPoolExecutor() as threads:
            answers = list(threads.map(lambda w: [t for e in engine.generate(w) for t in e.token_ids], wishes))
    finally:
        engine.close()
    for prompt, answer in zip(prompts, answers, strict=True):
        same("tokens", len(answer), 6, tolerance=0)
        require_greedy(own.model, torch.tensor(prompt), answer)


def batch_size(own: Own) -> None:
    """Every batch up to four, with times."""
    result = run(BatchSearchSpec(model=own.place, context_tokens=32, largest=4, rounds=3))
    trials = result.rows(BatchTrial)
    positive("batches", len(trials), *(t.batch for t in trials))


def onnx(own: Own) -> None:
    """The float graph and dynamic INT8 in ONNX Runtime."""
    from workbench.compress.onnx_model import OnnxModel

    folder = own.folder / "graphs"
    folder.mkdir(exist_ok=True)
    spec = QuantizationSpec(model=own.place)
    scored = own.ids.numpy()[None]
    try:
        graph = OnnxModel(spec, "onnx-fp32", folder=folder, scored=scored, threads=2)
        reference = logits(own.model, own.ids)
        damage = window_quality(reference, graph.logits(own.ids), own.ids).kl_nat.mean()
        same("KL of the float graph + 1", 1 + float(damage), 1, tolerance=1e-5)
        del graph
        small = OnnxModel(spec, "onnx-int8-dynamic", folder=folder, scored=scored, threads=2)
        positive("KL of INT8", window_quality(reference, small.logits(own.ids), own.ids).kl_nat.mean())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def edge(own: Own) -> None:
    """The folder through `edge`: the float graph flips no token, INT8 has a figure."""
    result = run(EdgeSpec(model=own.place, techniques=("fp32", "int8-dynamic"), batches=(1,), rounds=5))
    rows = {r.technique: r for r in result.rows(VariantResult)}
    if "fp32" not in rows or rows["fp32"].flips:
        raise Wrong(f"float graph: {rows.get('fp32') and rows['fp32'].flips} flips")
    if "int8-dynamic" not in rows and not result.failures:
        raise Wrong("INT8 has neither a row nor a reason")


COMMANDS: dict[str, Callable[[Own], None]] = {
    c.__name__.replace("_", "-"): c
    for c in (quantize, sensitivity, plan, recipe, evaluate, long_context, context_quality, serve, batch_size)
}
WITH_ONNX: dict[str, Callable[[Own], None]] = {"quantize (ONNX)": onnx, "edge": edge}


def outcome(check: Callable[[], None]) -> str:
    """Return "right", "refused: ..." or "WRONG: ...", whatever happens."""
    try:
        check()
    except WorkbenchError as error:
        sentence = " ".join(error.cause.split())
        return f"refused: {sentence}"
    except Wrong as error:
        return f"WRONG: {error}"
    except Exception as error:  # a traceback is what is looked for
        return traced(error)
    return "right"


def traced(error: Exception) -> str:
    """Return "WRONG: ..." with the kind and the place of an error."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"WRONG: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {str(error)[:200]}"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--commands")
    parser.add_argument("--onnx", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    known = COMMANDS | WITH_ONNX
    commands = asked.commands.split(",") if asked.commands else [*COMMANDS, *(WITH_ONNX if asked.onnx else ())]
    file = asked.out / "results.jsonl"
    done: dict[tuple[str, str], str] = {}
    if file.exists():
        done = {(r["type"], r["command"]): r["result"] for r in map(json.loads, file.read_text().splitlines())}
    for model_type in asked.types.split(","):
        missing = [c for c in commands if (model_type, c) not in done]
        if not missing:
            continue
        try:
            own = Own(made(model_type, asked.out))
        except Exception as error:  # each class of transformers has its own
            sys.stdout.write(f"{model_type:20} cannot be made small: {type(error).__name__}: {str(error)[:150]}\n")
            continue
        for command in missing:
            result = outcome(partial(known[command], own))
            done[model_type, command] = result
            with file.open("a") as lines:
                lines.write(json.dumps({"type": model_type, "command": command, "result": result}) + "\n")
            sys.stdout.write(f"{model_type:20} {command:16} {result}\n")
            sys.stdout.flush()
    columns = [c for c in known if any(command == c for _, command in done)]
    sys.stdout.write(f"| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}\n")
    for model_type in dict.fromkeys(t for t, _ in done):
        cells = [done.get((model_type, c), "–").split(":")[0] for c in columns]
        sys.stdout.write(f"| {model_type} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
