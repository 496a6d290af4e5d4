"""A model understood from its GGUF files: what their settings and tensors say."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.catalog.gguf_header import GgufHeader, GgufTensor, gguf_header
from workbench.catalog.model_spec import Experts, KvLayers, LayerProduct, ModelKind, ModelSpec, StoredWeights
from workbench.core.errors import NotAModel
from workbench.core.language import gettext

WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "olmo2": 4, "exaone4": 4, "exaone-moe": 4,
                  "llama4": 4, "gpt-oss": 2, "afmoe": 4}  # fmt: skip
"""Of so many layers all but the last have the window, where a file does not say: llama.cpp has it in its code (set_swa_pattern)."""
WINDOWS = {"gemma2": 4096, "llama4": 8192}
"""Windows that llama.cpp has in its code where a file does not name one."""
WINDOW_IGNORED = frozenset({"phi3"})
"""Architectures whose window llama.cpp does not use."""
EXAONE4_WITH_WINDOW = 64
"""Layers of the only EXAONE 4 whose window llama.cpp uses."""
OWN_KV_LAYERS = {"gemma3n": 20}
"""Layers with keys of their own, where a file does not say; the others read those of an earlier layer (llama.cpp)."""
ENCODERS = re.compile(r"bert|embedding|t5encoder")
STATE_BYTES = 4
"""llama.cpp keeps the states of recurrent and convolutional layers in 32 bits."""
PLAIN = frozenset({"F16", "BF16", "F32"})
ROLES: Mapping[str, str] = {
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_qkv", "attn_q_a", "attn_kv_a_mqa"), "qkv"),
    "attn_output": "o_proj",
    **dict.fromkeys(("ffn_gate", "ffn_up", "ffn_gate_shexp", "ffn_up_shexp"), "gate_up"),
    **dict.fromkeys(("ffn_down", "ffn_down_shexp"), "down_proj"),
}


def gguf_file_of(folder: Path) -> Path | None:
    """Return the GGUF file of a folder, the first of a split model; None where there is none.

    Raises:
        NotAModel: There are several models.
    """
    files = sorted(f for f in folder.glob("*.gguf") if not f.name.startswith("mmproj"))
    first = [f for f in files if not re.search(r"-\d{5}-of-\d{5}\.gguf$", f.name) or "-00001-of-" in f.name]
    if len(first) > 1:
        names = ", ".join(f.name for f in first[:8])
        raise NotAModel(
            gettext("The folder {folder} has several models: {names}.").format(folder=folder, names=names),
            remedy=gettext("Name one of these files."),
        )
    return first[0] if first else (files[0] if files else None)


def model_of_gguf(file: Path) -> ModelSpec:
    """Return the model of a GGUF file.

    Raises:
        NotAModel: The file is damaged, holds no language model, or lacks a setting that is needed.
    """
    return _Gguf(gguf_header(file), str(file)).model()


class _Gguf:
    """The settings and tensors of one model."""

    def __init__(self, header: GgufHeader, name: str) -> None:
        self._settings, self._name = header.settings, name
        self._arch = str(header.settings.get("general.architecture", ""))
        kind = header.settings.get("general.type", "model")
        if kind != "model" or not self._arch or self._arch == "clip":
            raise NotAModel(
                gettext("{name} holds {content}, not a model.").format(
                    name=name,
                    content=gettext("a projector for images")
                    if self._arch == "clip"
                    else gettext("a part of type {kind}").format(kind=repr(kind)),
                ),
                remedy=gettext("Name the GGUF file of the language model."),
            )
        n_draft = self._number("nextn_predict_layers", default=0)
        self._n_layers = self._number("block_count") - n_draft
        if self._n_layers < 1:
            raise NotAModel(gettext("{name} has no layers.").format(name=name), remedy=gettext("Fetch it again."))
        self._notes: list[str] = [f"{n_draft} layers for multi-token prediction are not counted."] if n_draft else []
        self._tensors = {n: t for n, t in header.tensors.items() if not n.startswith("rope_") and self._is_served(n)}
        if not self._tensors:
            raise NotAModel(
                gettext("{name} has no tensors.").format(name=name),
                remedy=gettext("Name the file that holds the weights."),
            )
        self._layers = [{n.split(".", 2)[2].removesuffix(".weight"): t for n, t in self._tensors.items() if n.startswith(f"blk.{i}.")}
                        for i in range(self._n_layers)]  # fmt: skip

    def model(self) -> ModelSpec:
        """Return the model with its counts, its cache and its products."""
        hidden, embedding = self._number("embedding_length"), self._tensors.get("token_embd.weight")
        heads = max(self._each("attention.head_count", default=[0] * self._n_layers)) or 1
        kv_heads = self._kv_heads(heads)
        total = sum(t.n for t in self._tensors.values())
        experts, skipped = self._experts(hidden)
        ends = [self._tensors[n] for n in ("token_embd.weight", "output.weight") if n in self._tensors]
        kv, latent = self._kv_layers(
            kv_heads, self._number("attention.key_length", default=hidden // heads), hidden, heads
        )
        kind = self._kind()
        return ModelSpec(
            name=Path(self._name).stem,
            architecture=self._arch,
            kind=kind,
            n_layers=self._n_layers,
            hidden=hidden,
            n_heads=heads,
            n_kv_heads=1 if latent else max(kv_heads) or heads,
            head_dim=self._number("attention.key_length", default=hidden // heads),
            intermediate=max(self._each("feed_forward_length", default=[0] * self._n_layers)),
            vocab_size=embedding.shape[-1] if embedding else 0,
            max_context_tokens=self._number("context_length", default=0),
            tied_embeddings="output.weight" not in self._tensors,
            n_params=total,
            n_active_params=total - skipped,
            n_embedding_params=sum(t.n for t in ends),
            kv_elements_per_token=None if kind == "encoder" else sum(g.n_layers * g.elements_per_token for g in kv),
            kv_layers=None if kind == "encoder" else kv,
            state_bytes=self._state_bytes(),
            has_latent_cache=latent,
            experts=experts,
            products=self._products(),
            stored=self._stored(),
            notes=tuple(self._notes),
            source=self._name,
        )

    def _is_served(self, name: str) -> bool:
        match = re.match(r"blk\.(\d+)\.", name)
        return match is None or int(match[1]) < self._n_layers

    def _setting(self, key: str) -> object:
        return self._settings.get(f"{self._arch}.{key}")

    def _number(self, key: str, default: int | None = None) -> int:
        """Return a setting, a whole number; of a list, its largest."""
        value = self._setting(key)
        if isinstance(value, list) and value:
            value = max(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if value is None and default is not None:
            return default
        raise NotAModel(
            gettext("{name} has {value} as `{arch}.{key}`, where it is a whole number.").format(
                name=self._name, value=f"{value!r:.80}", arch=self._arch, key=key
            ),
            remedy=gettext("Fetch it again."),
        )

    def _each(self, key: str, default: Sequence[int]) -> list[int]:
        """Return a setting for each layer, from a list or one number for all."""
        value = self._setting(key)
        if isinstance(value, list) and len(value) >= self._n_layers and all(isinstance(v, int) for v in value):
            return value[: self._n_layers]
        return list(default) if value is None else [self._number(key)] * self._n_layers

    def _kind(self) -> ModelKind:
        if ENCODERS.search(self._arch) or self._setting("attention.causal") is False:
            return "encoder"
        return "encoder-decoder" if self._arch == "t5" else "decoder"

    def _kv_heads(self, heads: int) -> list[int]:
        """Return the KV heads of each layer; 0 where it has no attention or reads the keys of an earlier layer."""
        each = self._each("attention.head_count_kv", default=[heads] * self._n_layers)
        own = [n if self._attends(layer) else 0 for n, layer in zip(each, self._layers, strict=True)]
        n_shared = self._number("attention.shared_kv_layers", default=0)
        n_own = OWN_KV_LAYERS.get(self._arch, self._n_layers) if not n_shared else self._n_layers - n_shared
        return [n if i < n_own else 0 for i, n in enumerate(own)]

    @staticmethod
    def _attends(layer: Mapping[str, GgufTensor]) -> bool:
        """Return whether a layer keeps keys: recurrent ones may have a tensor of the same name for their inputs."""
        is_recurrent = any(name.startswith(("ssm_", "shortconv", "time_mix")) for name in layer)
        has_keys = {"attn_k", "attn_v", "attn_kv_a_mqa"} & set(layer)
        if "ssm_conv1d_q" in layer:  # Kimi's delta attention has matrices of these names and keeps a state
            return False
        return bool(has_keys) or ("attn_qkv" in layer and not is_recurrent)

    def _windows(self) -> list[int | None]:
        """Return the window of each layer; None where it sees all."""
        window = self._number("attention.sliding_window", default=WINDOWS.get(self._arch, 0))
        plain: list[int | None] = [None] * self._n_layers
        if not window or self._arch in WINDOW_IGNORED:
            return plain
        if self._arch == "exaone4" and self._n_layers != EXAONE4_WITH_WINDOW:
            return plain
        window = WINDOWS["llama4"] if self._arch == "llama4" else window
        pattern = self._setting("attention.sliding_window_pattern")
        if isinstance(pattern, list) and len(pattern) >= self._n_layers:
            return [window if pattern[i] else None for i in range(self._n_layers)]
        period = pattern if isinstance(pattern, int) and pattern > 0 else WINDOW_PERIODS.get(self._arch)
        if period is None:
            self._notes.append(
                f"The file names a window of {window} tokens and not which layers have it: all are counted without."
            )
            return plain
        return [window if i % period < period - 1 else None for i in range(self._n_layers)]

    def _kv_layers(
        self, kv_heads: Sequence[int], key: int, hidden: int, heads: int
    ) -> tuple[tuple[KvLayers, ...], bool]:
        """Return what the layers keep of a token, and whether it is a latent."""
        value = self._number("attention.value_length", default=hidden // heads)
        local_key = self._number("attention.key_length_swa", default=key)
        local_value = self._number("attention.value_length_swa", default=value)
        rank = self._number("attention.kv_lora_rank", default=0)
        latent = rank + self._number("rope.dimension_count", default=0) if rank else 0
        indexer = self._number("attention.indexer.key_length", default=0)
        groups: Counter[tuple[int, int | None, int]] = Counter()
        for n, window in zip(kv_heads, self._windows(), strict=True):
            if n and latent:
                groups[latent + indexer, None, 1] += 1
            elif n:
                groups[n * (key + value if window is None else local_key + local_value), window, n] += 1
        layers = tuple(
            KvLayers(n_layers=n, elements_per_token=elements, window_tokens=window, n_heads=n_heads)
            for (elements, window, n_heads), n in groups.items()
        )
        return layers, bool(latent)

    def _state_bytes(self) -> int:
        """Return the states of a sequence, as llama.cpp has them: of convolutions and of recurrences, in 32 bits."""
        short = self._number("shortconv.l_cache", default=0)
        n_short = sum(any(name.startswith("shortconv") for name in layer) for layer in self._layers)
        numbers = n_short * self._number("embedding_length") * max(0, short - 1)
        n_recurrent = sum(any(name.startswith("ssm_") for name in layer) for layer in self._layers)
        if n_recurrent:
            kernel, inner = self._number("ssm.conv_kernel", default=1), self._number("ssm.inner_size", default=0)
            size = self._number("ssm.state_size", default=0)
            if head_dim := self._number("kda.head_dim", default=0):
                n_heads = self._number("attention.head_count")
                each = 3 * (kernel - 1) * head_dim * n_heads + head_dim * head_dim * n_heads
            else:
                each = (kernel - 1) * (inner + 2 * self._number("ssm.group_count", default=0) * size) + size * inner
            numbers += n_recurrent * each
        elif any("time_mix_w1" in layer or "time_mix_key" in layer for layer in self._layers):
            self._notes.append("The states of RWKV are not counted.")
        return STATE_BYTES * numbers

    def _experts(self, hidden: int) -> tuple[Experts | None, int]:
        """Return the mixture, and the parameters of experts that a token does not go to."""
        n_experts, used = self._number("expert_count", default=0), self._number("expert_used_count", default=0)
        routed = [sum(t.n for name, t in layer.items() if name.endswith("_exps")) for layer in self._layers]
        n_layers = sum(n > 0 for n in routed)
        if not n_experts or not n_layers:
            return None, 0
        if not 0 < used <= n_experts:
            raise NotAModel(
                gettext("{name} has {n} experts in a layer and does not say how many a token goes to.").format(
                    name=self._name, n=n_experts
                ),
                remedy=gettext("Fetch it again."),
            )
        width = self._number(
            "expert_feed_forward_length", default=round(sum(routed) / n_layers / n_experts / 3 / hidden)
        )
        experts = Experts(
            n_experts=n_experts,
            n_per_token=used,
            intermediate=width,
            n_shared=self._number("expert_shared_count", default=0),
            n_dense_layers=self._n_layers - n_layers,
            n_layers=n_layers,
        )
        return experts, round(sum(routed) * (1 - used / n_experts))

    def _products(self) -> tuple[LayerProduct, ...]:
        """Return the products of all layers; those that read the same input and do the same are one."""
        counts: Counter[tuple[str, int, int]] = Counter()
        for layer in self._layers:
            rows: Counter[tuple[str, int]] = Counter()
            for name, tensor in layer.items():
                if len(tensor.shape) == 2 and not name.endswith("_exps") and not name.startswith("ffn_gate_inp"):
                    role = ROLES.get(name, name)
                    if role in {"qkv", "gate_up"}:
                        rows[role, tensor.shape[0]] += tensor.shape[1]
                    else:
                        counts[role, tensor.shape[1], tensor.shape[0]] += 1
            for (role, columns), n in rows.items():
                counts[role, n, columns] += 1
        least = 0.001 * sum(rows * columns * n for (_, rows, columns), n in counts.items())
        products: dict[str, LayerProduct] = {}
        for (role, rows_of_it, columns), n in counts.items():
            if rows_of_it * columns * n >= least:
                name = role if role not in products else f"{role} {rows_of_it} x {columns}"
                products[name] = LayerProduct(role=name, rows=rows_of_it, columns=columns, n_layers=n)
        return tuple(products.values())

    def _stored(self) -> StoredWeights | None:
        """Return the bytes of all tensors under the type that most weights have; None where it is 16 bits."""
        sizes: Counter[str] = Counter()
        for tensor in self._tensors.values():
            sizes[tensor.type] += tensor.n
        most = sizes.most_common(1)[0][0]
        if most in PLAIN - {"F32"}:
            return None
        n_bytes = sum(t.n_bytes for t in self._tensors.values())
        return StoredWeights(method=f"gguf {most}", precision=None, n_bytes=n_bytes)
