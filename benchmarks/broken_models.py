"""Broken, odd and contradicting model folders through the commands that measure a model: each is measured, or refused in one sentence with a remedy.

    python benchmarks/broken_models.py OUT [--cases nan,adapter] [--commands serve,evaluate] [--words]

A cell is "measured", "refused" or WRONG: a stack trace, a message of several lines or without a remedy, or a broken folder that was measured.
Results are added to OUT/results.jsonl, and what lies there is not run again. ``--words`` prints every sentence.
"""

import argparse
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers as t
from architectures import save_sharper, shell, traced
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from workbench.compress.folder import folder_layers
from workbench.compress.spec import QuantizationSpec
from workbench.core.errors import WorkbenchError
from workbench.core.ports import Generation
from workbench.engines.openai_server import open_engine
from workbench.engines.serving import launch_for
from workbench.engines.text import ChatTemplate
from workbench.measuring.envelope import run
from workbench.questions.edge.spec import EdgeSpec
from workbench.questions.long_context.quality.spec import ContextQualitySpec
from workbench.questions.long_context.spec import LongContextSpec
from workbench.questions.quantization.evaluation.spec import EvaluationSpec
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec
from workbench.questions.quantization.sensitivity.spec import SensitivitySpec
from workbench.questions.utilization.batch_size.spec import BatchSearchSpec

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SIZES = {"vocab_size": 4096, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}  # fmt: skip
Tensors = dict[str, torch.Tensor]
Change = Callable[[Path], object]
UP = "model.layers.0.mlp.up_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


def base(folder: Path, config: t.PreTrainedConfig | None = None, kind: type[t.PreTrainedModel] | None = None) -> None:
    """Write a small model with the reference model's tokenizer."""
    torch.manual_seed(0)
    config = config or t.Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=True)
    model = kind(config) if kind else t.AutoModelForCausalLM.from_config(config)
    save_sharper(model, folder)


def as_made(config: t.PreTrainedConfig, kind: type[t.PreTrainedModel] | None = None) -> Change:
    """Return a change that puts another model into the folder."""

    def change(folder: Path) -> None:
        shutil.rmtree(folder)
        base(folder, config, kind)

    return change


def edited(file: str = "config.json", **fields: object) -> Change:
    """Return a change of fields of a JSON file; None removes one."""

    def change(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({k: v for k, v in (content | fields).items() if v is not None}))

    return change


def stored(alter: Callable[[Tensors], object]) -> Change:
    """Return a change of the tensors, in place."""

    def change(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        alter(tensors)
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / WEIGHTS, metadata={"format": "pt"})

    return change


def text(file: str, content: str | bytes) -> Change:
    """Return a change that writes a file."""
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def without(*files: str) -> Change:
    """Return a change that removes files."""
    return lambda folder: [(folder / f).unlink(missing_ok=True) for f in files]


def all_of(*changes: Change) -> Change:
    """Return several changes as one."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def with_bom(file: str) -> Change:
    """Return a change that puts a byte order mark before a file."""
    return lambda folder: (folder / file).write_bytes(b"\xef\xbb\xbf" + (folder / file).read_bytes())


def link(file: str, target: str) -> Change:
    """Return a change that puts a symbolic link in the place of a file."""

    def change(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).symlink_to(target)

    return change


def as_folder(file: str) -> Change:
    """Return a change that puts a folder in the place of a file."""
    return all_of(without(file), lambda folder: (folder / file).mkdir())


def sharded(alter: Callable[[dict[str, str], Path], None] = lambda _map, _folder: None) -> Change:
    """Return a change to two shards with an index, whose map is altered before it is written."""

    def change(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        names = sorted(tensors)
        parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        for file, own in parts.items():
            save_file({n: tensors[n] for n in own}, folder / file, metadata={"format": "pt"})
        places = {n: file for file, own in parts.items() for n in own}
        alter(places, folder)
        (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))

    return change


def twice(folder: Path) -> None:
    """Put a tensor with other values into the second shard too."""
    sharded()(folder)
    first, second = (load_file(folder / f"model-0000{i}-of-00002.safetensors") for i in (1, 2))
    name = sorted(first)[3]
    save_file(
        second | {name: first[name] * 2 + 1}, folder / "model-00002-of-00002.safetensors", metadata={"format": "pt"}
    )


def quantized(method: str, **fields: object) -> Change:
    """Return a change to packed weights as a method stores them."""

    def pack(tensors: Tensors) -> None:
        for name in [n for n in tensors if "_proj.weight" in n]:
            weight = tensors.pop(name)
            stem = name.removesuffix(".weight")
            if method in {"gptq", "awq", "auto-round"}:
                tensors[f"{stem}.qweight"] = torch.zeros((weight.shape[1] // 8, weight.shape[0]), dtype=torch.int32)
                tensors[f"{stem}.qzeros"] = torch.zeros((1, weight.shape[0] // 8), dtype=torch.int32)
                tensors[f"{stem}.scales"] = torch.ones((1, weight.shape[0]), dtype=torch.float16)
            else:
                tensors[name] = torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8)
                tensors[f"{name}.absmax"] = torch.ones(weight.numel() // 64)

    return all_of(stored(pack), edited(quantization_config={"quant_method": method, **fields}))


def pickled(content: object, name: str = "pytorch_model.bin") -> Change:
    """Return a change to a pickle of torch in the place of the weights; None pickles the weights themselves."""

    def change(folder: Path) -> None:
        torch.save(load_file(folder / WEIGHTS) if content is None else content, folder / name)
        (folder / WEIGHTS).unlink()

    return change


def tokenizer(alter: Callable[[dict[str, object]], object]) -> Change:
    """Return a change of tokenizer.json."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        alter(content)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return change


def renamed(tensors: Tensors, old: str, new: str) -> None:
    """Give a tensor another name."""
    tensors[new] = tensors.pop(old)


class Runs:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def wordless(content: dict[str, object]) -> None:
    """Take all words from a tokenizer."""
    content["model"] = {**content["model"], "vocab": {}, "merges": []}  # type: ignore[dict-item]


LLAMA, QWEN2 = t.LlamaConfig(**SIZES), t.Qwen2Config(**SIZES)
T5 = t.T5Config(vocab_size=4096, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
BERT = t.BertConfig(
    vocab_size=4096,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=128,
)
VIT = t.ViTConfig(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
)
LORA = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8, "target_modules": ["q_proj"]}
W4 = {"bits": 4, "group_size": 128, "sym": True, "desc_act": False}
AS_WHOLE = {
    "whole": lambda _: None,
    "shards": sharded(),
    "index that counts no bytes": sharded(),
    "weights and an index beside them": all_of(
        lambda f: shutil.copy(f / WEIGHTS, f / "kept"), sharded(), lambda f: (f / "kept").rename(f / WEIGHTS)
    ),
    "shards in each other's places": sharded(lambda m, _: m.update({k: v.replace("00001-of", "X").replace("00002-of", "00001-of").replace("X", "00002-of") for k, v in m.items()})),
    "float16": edited(dtype="float16"),
    "pickle of weights": pickled(None),
    "odd generation settings": edited("generation_config.json", temperature=0.0, do_sample=True, eos_token_id=[0, 99999], max_length=5),
    "code beside a known type": edited(auto_map={"AutoModelForCausalLM": "modeling_own.OwnModel"}),
    "FP8 without scales": stored(lambda s: s.update({k: v.to(torch.float8_e4m3fn) for k, v in s.items() if "proj" in k})),
    "index that leaves a tensor out": sharded(lambda m, _: m.pop(UP)),
    "index that names a tensor that is nowhere": sharded(lambda m, _: m.update({"model.layers.0.more.weight": "model-00001-of-00002.safetensors"})),
    "generation settings with a byte order mark": all_of(edited("generation_config.json", eos_token_id=0), with_bom("generation_config.json")),
    "an unknown field": edited(a_note_of_ours="hello"),
}  # fmt: skip
"""Folders that are odd but right."""
BROKEN = {
    "tensor missing": stored(lambda s: s.pop(UP)),
    "norm missing": stored(lambda s: s.pop("model.norm.weight")),
    "tensor misnamed": stored(lambda s: renamed(s, UP, UP.replace("up_proj", "up_projection"))),
    "prefix misnamed": stored(lambda s: [renamed(s, n, "base_model." + n) for n in list(s)]),
    "a bias that no layer has": stored(lambda s: s.update({UP.replace("weight", "bias"): torch.ones(96)})),
    "norms that no layer has": all_of(edited(model_type="llama", architectures=["LlamaForCausalLM"])),
    "biases of another class": all_of(as_made(QWEN2), stored(lambda s: [s[k].normal_() for k in s if "bias" in k]), edited(model_type="llama", architectures=["LlamaForCausalLM"])),
    "tensor in another shape": stored(lambda s: s.update({UP: s[UP][:90]})),
    "tensor turned": stored(lambda s: s.update({UP: s[UP].T})),
    "NaN": stored(lambda s: s[UP][0].fill_(float("nan"))),
    "NaN in a norm": stored(lambda s: s["model.norm.weight"][0].fill_(float("nan"))),
    "infinite": stored(lambda s: s[DOWN][0].fill_(float("inf"))),
    "whole numbers": stored(lambda s: s.update({UP: s[UP].to(torch.int64)})),
    "truth values": stored(lambda s: s.update({UP: s[UP] > 0})),
    "complex numbers": stored(lambda s: s.update({UP: s[UP].to(torch.complex64)})),
    "a head of its own though tied": stored(lambda s: s.update({"lm_head.weight": torch.randn(4096, 64)})),
    "no head though untied": edited(tie_word_embeddings=False),
    "tensor twice with other values": twice,
    "shard missing": all_of(sharded(), without("model-00002-of-00002.safetensors")),
    "all shards missing": all_of(sharded(), without("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")),
    "shard empty": all_of(sharded(), text("model-00002-of-00002.safetensors", b"")),
    "index that leaves a shard out": sharded(lambda m, _: [m.pop(k) for k, v in list(m.items()) if "00002-of" in v]),
    "index that names files outside": sharded(lambda m, _: m.update({k: "../" + v for k, v in m.items()})),
    "index of a list": all_of(sharded(), text(INDEX, "[]")),
    "index with a byte order mark": all_of(sharded(), with_bom(INDEX)),
    "weights empty": text(WEIGHTS, b""),
    "weights without tensors": lambda f: save_file({}, f / WEIGHTS),
    "weights cut off": lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:100_000]),
    "weights too long": lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes() + b"x" * 1000),
    "weights of zeros": lambda f: (f / WEIGHTS).write_bytes(b"\0" * 1000),
    "weights a web page": text(WEIGHTS, "<!doctype html><html><title>404</title></html>"),
    "weights a pointer of Git LFS": text(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n"),
    "weights a folder": as_folder(WEIGHTS),
    "weights a loop of links": link(WEIGHTS, WEIGHTS),
    "weights a link to nothing": link(WEIGHTS, "../nowhere/model.safetensors"),
    "no weights": without(WEIGHTS),
    "weights in GGUF alone": all_of(without(WEIGHTS), text("model.gguf", b"GGUF" + b"\0" * 100)),
    "GGUF and nothing else": all_of(without(WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"), text("model.gguf", b"GGUF" + b"\0" * 100)),
    "weights of TensorFlow alone": all_of(without(WEIGHTS), text("tf_model.h5", b"\x89HDF")),
    "weights of Flax alone": all_of(without(WEIGHTS), text("flax_model.msgpack", b"x")),
    "weights in Mistral's names alone": lambda f: (f / WEIGHTS).rename(f / "consolidated.safetensors"),
    "pickle that runs code": pickled({"x": Runs()}),
    "pickle cut off": all_of(pickled(None), lambda f: (f / "pytorch_model.bin").write_bytes((f / "pytorch_model.bin").read_bytes()[:50_000])),
    "pickle of a list": pickled([torch.ones(3)]),
    "pickle of a training run": pickled({"model": {"x": torch.ones(2)}, "optimizer": {}}),
    "adapter alone": all_of(without(WEIGHTS, "config.json"), edited("adapter_config.json", **LORA), lambda f: save_file({"base_model.model.x.lora_A.weight": torch.ones(8, 64)}, f / "adapter_model.safetensors")),
    "adapter beside a configuration": all_of(without(WEIGHTS), edited("adapter_config.json", **LORA), lambda f: save_file({"base_model.model.x.lora_A.weight": torch.ones(8, 64)}, f / "adapter_model.safetensors")),
    "adapter beside a model": all_of(edited("adapter_config.json", **LORA), lambda f: save_file({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(8, 64)}, f / "adapter_model.safetensors")),
    "adapter's tensors as weights": stored(lambda s: [s.pop(k) for k in list(s)] and s.update({"base_model.model.x.lora_A.weight": torch.ones(8, 64)})),
    "GPTQ without its package": quantized("gptq", **W4),
    "AWQ without its package": quantized("awq", bits=4, group_size=128, zero_point=True, version="gemm"),
    "AutoRound without its package": quantized("auto-round", **W4, packing_format="auto_round:auto_gptq"),
    "bitsandbytes in 4 bits without its package": quantized("bitsandbytes", load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "bitsandbytes in 8 bits without its package": quantized("bitsandbytes", load_in_8bit=True),
    "HQQ without its package": quantized("hqq", quant_config={"weight_quant_params": {"nbits": 4, "group_size": 64}}),
    "Quanto without its package": quantized("quanto", weights="int8"),
    "AQLM without its package": quantized("aqlm", in_group_size=8),
    "EETQ without a GPU": quantized("eetq", weights="int8"),
    "Quark without its package": quantized("quark", quant_mode="eager"),
    "MXFP4 without its package": quantized("mxfp4"),
    "FP8 in blocks without its package": quantized("fp8", weight_block_size=[128, 128], activation_scheme="dynamic"),
    "Model Optimizer": quantized("modelopt", quant_algo="NVFP4"),
    "a method that nobody has": quantized("magic"),
    "a quantization without a method": quantized("", bits=4),
    "packed as MLX does": all_of(stored(lambda s: s.update({k: torch.zeros(8, 8, dtype=torch.uint32) for k in list(s) if "proj" in k})), edited(quantization={"group_size": 64, "bits": 4})),
    "codes that the configuration does not name": all_of(quantized("gptq", **W4), edited(quantization_config=None)),
    "vocabulary smaller than the tokenizer": all_of(stored(lambda s: s.update({"model.embed_tokens.weight": s["model.embed_tokens.weight"][:900]})), edited(vocab_size=900)),
    "vocabulary smaller than the embedding": edited(vocab_size=4000),
    "vocabulary larger than the embedding": edited(vocab_size=5000),
    "tokenizer without words": tokenizer(wordless),
    "tokenizer that drops everything": tokenizer(lambda c: c.update(normalizer={"type": "Replace", "pattern": {"Regex": "[\\s\\S]"}, "content": ""})),
    "tokenizer cut off": lambda f: (f / "tokenizer.json").write_bytes((f / "tokenizer.json").read_bytes()[:5000]),
    "tokenizer empty": text("tokenizer.json", b""),
    "tokenizer a list": text("tokenizer.json", "[]"),
    "tokenizer a folder": as_folder("tokenizer.json"),
    "tokenizer a loop of links": link("tokenizer.json", "tokenizer.json"),
    "tokenizer with a byte order mark": with_bom("tokenizer.json"),
    "tokenizer's settings with a byte order mark": with_bom("tokenizer_config.json"),
    "tokenizer's settings a list": text("tokenizer_config.json", "[]"),
    "tokenizer of a class that nobody has": all_of(without("tokenizer.json"), edited("tokenizer_config.json", tokenizer_class="MagicTokenizer")),
    "tokenizer of code beside it": all_of(without("tokenizer.json"), edited("tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map={"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]})),
    "sentencepiece that is damaged": all_of(without("tokenizer.json", "tokenizer_config.json"), text("tokenizer.model", b"\x0a\x0b garbage")),
    "no tokenizer": without("tokenizer.json", "tokenizer_config.json"),
    "chat template that does not end": edited("tokenizer_config.json", chat_template="{% for m in messages %}{{ m.content }}"),
    "generation settings cut off": text("generation_config.json", '{"eos_token_id": '),
    "end of text a word": edited("generation_config.json", eos_token_id="end"),
    "configuration empty": text("config.json", b""),
    "configuration cut off": lambda f: (f / "config.json").write_bytes((f / "config.json").read_bytes()[:100]),
    "configuration a list": text("config.json", "[1]"),
    "configuration with a byte order mark": with_bom("config.json"),
    "configuration in UTF-16": lambda f: (f / "config.json").write_bytes((f / "config.json").read_text().encode("utf-16")),
    "configuration with comments": lambda f: (f / "config.json").write_text("// ours\n" + (f / "config.json").read_text()),
    "configuration a folder": as_folder("config.json"),
    "configuration a loop of links": link("config.json", "config.json"),
    "configuration missing": without("config.json"),
    "type missing": edited(model_type=None),
    "type that nobody has": edited(model_type="magic"),
    "type of code beside it": edited(model_type="own", auto_map={"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}),
    "type of an image model": edited(model_type="vit"),
    "layers too few": edited(num_hidden_layers=1),
    "layers too many": edited(num_hidden_layers=3),
    "layers of a float": edited(num_hidden_layers=2.0),
    "heads that do not divide": edited(num_attention_heads=3),
    "more KV heads than heads": edited(num_key_value_heads=8),
    "heads zero": edited(num_attention_heads=0),
    "head dimension of another size": edited(head_dim=32),
    "activation that nobody has": edited(hidden_act="magic"),
    "kinds of layers for fewer layers": edited(layer_types=["full_attention"]),
    "kind of layer that nobody has": edited(layer_types=["magic", "magic"]),
    "rotary kind that nobody has": edited(rope_parameters={"rope_type": "magic", "rope_theta": 10000.0}),
    "rotary scaling without a factor": edited(rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0}),
    "norm of a word": edited(rms_norm_eps="small"),
    "number format that nobody has": edited(dtype="float7"),
    "classes instead of words": as_made(LLAMA, t.LlamaForSequenceClassification),
    "a reward model": edited(architectures=["Qwen3ForRewardModel"]),
    "an encoder": as_made(BERT, t.BertModel),
    "a classifier": as_made(BERT, t.BertForSequenceClassification),
    "an encoder-decoder": as_made(T5, t.T5ForConditionalGeneration),
    "an image model": as_made(VIT, t.ViTForImageClassification),
    "a pipeline of diffusers": all_of(without("config.json", WEIGHTS), text("model_index.json", '{"_class_name": "StableDiffusionPipeline"}')),
    "empty folder": lambda f: [p.unlink() for p in f.iterdir()],
    "a file instead": lambda f: (shutil.rmtree(f), f.write_text("not a folder")),
    "a loop of folders": lambda f: (shutil.rmtree(f), f.symlink_to(f.name)),
    "a link to nothing": lambda f: (shutil.rmtree(f), f.symlink_to("nowhere")),
    "nothing": shutil.rmtree,
    "a cache of the hub": lambda f: (f.rename(f.parent / "kept"), (f / "snapshots").mkdir(parents=True), (f.parent / "kept").rename(f / "snapshots" / "0123abcd")),
}  # fmt: skip
"""Folders that no command may measure as if they were right."""
TOKENIZERS = {
    n for n in BROKEN if n.startswith(("tokenizer", "sentencepiece", "no tokenizer", "vocabulary smaller than the tok"))
}
ENDS = {n for n in BROKEN if n.startswith(("generation", "end of text", "chat template"))}
FEW = {"n_windows": 2, "window_tokens": 64}


def require_rows(spec: object) -> None:
    """Run a spec; raise the first failure where nothing was measured."""
    done = run(spec)  # type: ignore[arg-type]
    rows = [
        r for r in done.results if getattr(r, "status", "measured") == "measured" and type(r).__name__ != "NotMeasured"
    ]
    if not rows:
        reason = next((str(r.reason) for r in done.results if getattr(r, "reason", None)), "no row and no reason")
        failure = done.failures[0] if done.failures else None
        raise WorkbenchError(failure.cause if failure else reason, remedy=failure.remedy if failure else "as said")


def serve(place: str) -> None:
    """Launch as `workbench serve --engine torch` does, and answer a text."""
    launch_for("torch", place, name="m", port=8000, device="cpu", cache=Path("unused"), tell=lambda _: None)
    ChatTemplate.of(Path(place))
    engine = open_engine("torch", Path(place), device="cpu", dtype=None, random_weights=False, kv_tokens=1024)
    try:
        events = list(engine.generate(Generation(prompt="def main(", max_tokens=3, ignore_eos=True)))
    finally:
        engine.close()
    if sum(len(e.token_ids) for e in events) != 3:
        raise ValueError(f"{len(events)} events")


def plan_of(place: str) -> dict[str, str]:
    """Return a plan for every group of a folder; one for common names where it has none."""
    return (
        {g.name: "w8a16" for g in folder_layers(place)[1]} if Path(place, "config.json").is_file() else {"qkv": "w8a16"}
    )


GOOD: list[str] = []
"""The whole folder, which a broken one is a candidate for."""
COMMANDS: dict[str, Callable[[str], object]] = {
    "models show": lambda p: shell("models", "show", p),
    "plan": lambda p: shell("plan", p, "--input-tokens", "64", "--output-tokens", "16", "--on", "h200-sxm"),
    "serve": serve,
    "quantize": lambda p: require_rows(QuantizationSpec(model=p, methods=("fp32", "int8-weight"), **FEW, rounds=1, prompt_tokens=16, decode_tokens=2, prefill_tokens=16, batches=(1,))),
    "sensitivity": lambda p: require_rows(SensitivitySpec(model=p, formats=("w8a16",), **FEW, n_samples=2, budgets_bits=(12.0,), n_random=0)),
    "verify-plan": lambda p: require_rows(PlanDamageSpec(model=p, plan=plan_of(p), n_samples=(0,), **FEW)),
    "recipe": lambda p: shell("checkpoints", p, "--plan", json.dumps(plan_of(p)), "--recipe"),
    "evaluate": lambda p: require_rows(EvaluationSpec(model=p, candidates=("kv:int8-token",), **FEW, n_passkeys=2, passkey_tokens=128, n_completions=0)),
    "evaluate a candidate": lambda p: require_rows(EvaluationSpec(model=GOOD[0], candidates=(p,), **FEW, n_passkeys=2, passkey_tokens=128, n_completions=0)),
    "long-context": lambda p: require_rows(LongContextSpec(model=p, lengths=(64,), chunks=(32,), decode_steps=2, caches=("dynamic",), search=False)),
    "context-quality": lambda p: require_rows(ContextQualitySpec(model=p, variants=("full", "window:32"), lengths=(128,), n_depths=2, n_per_cell=1, n_windows=1, window_tokens=128, tasks=("single",))),
    "batch-size": lambda p: require_rows(BatchSearchSpec(model=p, context_tokens=32, largest=2, rounds=3)),
    "edge": lambda p: require_rows(EdgeSpec(model=p, techniques=("fp32", "int8-dynamic"), batches=(1,), rounds=5)),
}  # fmt: skip
ARITHMETIC = {"models show", "plan", "recipe"}
"""Commands that read no tensors but their sizes."""
WITHOUT_TEXT = {"batch-size", "long-context"}
"""Commands that read random tokens."""


def may_measure(case: str, command: str) -> bool:
    """Return whether a broken folder has all that a command needs, as arithmetic needs no tokenizer."""
    if case in AS_WHOLE or command in ARITHMETIC:
        return True
    if case in ENDS:
        return command != "serve"
    if case in TOKENIZERS:
        return command in WITHOUT_TEXT
    return case == "no weights" and command == "long-context"


def outcome(case: str, command: str, place: str) -> str:
    """Return "measured", "refused: ..." or "WRONG: ..."."""
    try:
        COMMANDS[command](place)
    except WorkbenchError as error:
        words = f"{error.cause} | {error.remedy}"
        if case in AS_WHOLE:
            return f"WRONG: refused: {words}"
        odd = not error.remedy.strip() or "\n" in error.cause or len(error.cause) > 420 or "report" in error.remedy
        return f"{'WRONG: words: ' if odd else 'refused: '}{words}"
    except Exception as error:  # noqa: BLE001 - a stack trace is what is looked for
        return traced(error)
    return "measured" if may_measure(case, command) else "WRONG: measured"


def main() -> None:
    """Run what is missing, and print what is wrong and a count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases")
    parser.add_argument("--commands")
    parser.add_argument("--words", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    whole = asked.out.resolve() / "whole"
    if not whole.exists():
        base(whole)
    GOOD.append(str(whole))
    file, all_cases = asked.out / "results.jsonl", AS_WHOLE | BROKEN
    lines = file.read_text().splitlines() if file.exists() else []
    done = {(r["case"], r["command"]): r["result"] for r in map(json.loads, lines)}
    for case in asked.cases.split(",") if asked.cases else all_cases:
        folder = asked.out.resolve() / "cases" / case
        for command in asked.commands.split(",") if asked.commands else COMMANDS:
            if (case, command) in done:
                continue
            if not folder.exists() and not folder.is_symlink():
                shutil.copytree(whole, folder)
                all_cases[case](folder)
            result = done[case, command] = outcome(case, command, str(folder))
            with file.open("a") as stream:
                stream.write(json.dumps({"case": case, "command": command, "result": result}) + "\n")
            if asked.words or result.startswith("WRONG"):
                sys.stdout.write(f"{case} · {command}: {result}\n")
                sys.stdout.flush()
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)
    kinds = [r.split(":")[0] for r in done.values()]
    sys.stdout.write(", ".join(f"{k} {kinds.count(k)}" for k in sorted(set(kinds))) + "\n")


if __name__ == "__main__":
    main()
