"""The damage that each format does to each group of linear layers of a model, alone or as a plan."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from workbench.catalog.formats import FORMATS, LayerGroup, formats_of, layer_groups
from workbench.compress.fake_quant import gptq, round_to_nearest, rounded_inputs
from workbench.compress.layers import plain_layers
from workbench.compress.quality import log_probabilities, window_quality
from workbench.compress.rows import Coverage
from workbench.core.errors import NotAModel
from workbench.understanding.loading import loaded
from workbench.understanding.reading import CausalReader

BATCH_WINDOWS = 4  # in one forward pass
Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


def open_layer_damage(place: str, *, device: str, threads: int) -> "LayerDamage":
    """Return the model of a folder, to which formats can be applied."""
    torch.set_num_threads(threads)
    model = loaded(place, dtype=torch.float32).to(device)
    model.requires_grad_(False)
    CausalReader(model).require_causal()
    return LayerDamage(model)


class LayerDamage:
    """A model whose linear layers can take any format and be compared with the original ones."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Take over ``model``, a causal language model in float32 and in evaluation mode."""
        self.model, self._reader = model, CausalReader(model)
        self.layers = plain_layers(model)
        self.layers.require_known_experts()
        self.linears = dict(self.layers.linears)
        if not self.linears:
            raise NotAModel("The model has no linear layer that a plan could quantize.", remedy="Choose another model.")
        self.groups: list[LayerGroup] = layer_groups(self.linears)
        self._weights = {name: layer.weight.data for name, layer in self.linears.items()}
        self._rounded: dict[tuple[str, str], torch.Tensor] = {}
        self._hessians: dict[str, torch.Tensor] = {}
        self.input_outlier_ratio: dict[str, float] = {}
        self._reference: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def n_weights(self, group: LayerGroup) -> int:
        """Return the number of weights of a group."""
        return sum(self._weights[m].numel() for m in group.modules)

    def stored_bits(self, group: LayerGroup, form: str) -> float:
        """Return the bits per weight of a group in a format, scales included."""
        chosen, sizes = FORMATS[form], {m: self._weights[m] for m in group.modules}
        bits = sum(w.numel() * chosen.stored_bits(in_features=w.shape[1]) for w in sizes.values())
        return bits / self.n_weights(group)

    def coverage(self, plan: Mapping[str, str]) -> Coverage:
        """Return by kind of layer the weights that a plan of groups quantizes."""
        replaced = [m for g in self.groups if FORMATS[plan.get(g.name, "bf16")].weights is not None for m in g.modules]
        return self.layers.coverage(replaced)

    def outlier_ratio(self, group: LayerGroup) -> float | None:
        """Return the largest over the median magnitude of the inputs of a group; None where no text reached it."""
        return max((self.input_outlier_ratio[m] for m in group.modules if m in self.input_outlier_ratio), default=None)

    def fits(self, group: LayerGroup, form: str) -> bool:
        """Return whether the format's group size divides the inputs of all layers of the group."""
        size = FORMATS[form].group_size
        return size is None or all(self._weights[m].shape[1] % size == 0 for m in group.modules)

    def _tensor(self, ids: Ids) -> torch.Tensor:
        return torch.from_numpy(ids).to(self.model.device)

    @torch.no_grad()
    def calibrate(self, windows: Ids) -> None:
        """Collect statistics of the inputs of every layer on windows of text: (windows, tokens)."""
        ids = self._tensor(windows)
        largest: dict[str, torch.Tensor] = {}

        def observer(name: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor]], None]:
            def hook(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
                x = inputs[0].flatten(0, -2)
                if not len(x):
                    return
                self._hessians[name] = self._hessians.get(name, 0) + x.T @ x
                top = x.abs().amax(0)
                largest[name] = torch.maximum(largest[name], top) if name in largest else top

            return hook

        hooks = [layer.register_forward_pre_hook(observer(name)) for name, layer in self.linears.items()]
        try:
            for at in range(0, len(ids), BATCH_WINDOWS):
                self._reader.end(ids[at : at + BATCH_WINDOWS])
        finally:
            for hook in hooks:
                hook.remove()
        for name, top in largest.items():
            self.input_outlier_ratio[name] = float(top.max() / top.median().clamp_min(1e-12))

    def rounded(self, module: str, form: str) -> torch.Tensor:
        """Return the weight of a layer in a format: by GPTQ for integers, to the nearest value for floats."""
        key = (module, form)
        if key not in self._rounded:
            weight, chosen = self._weights[module], FORMATS[form]
            is_int = chosen.weights is not None and chosen.weights["type"] == "int"
            hessian = self._hessians.get(module)
            self._rounded[key] = (
                gptq(weight, hessian, chosen) if is_int and hessian is not None else round_to_nearest(weight, chosen)
            )
        return self._rounded[key]

    def weight_error_fraction(self, group: LayerGroup, form: str) -> float:
        """Return the norm of the change of a group's weights over the norm of the weights."""
        change = sum(float((self.rounded(m, form) - self._weights[m]).square().sum()) for m in group.modules)
        norm = sum(float(self._weights[m].square().sum()) for m in group.modules)
        return float((change / norm) ** 0.5)

    @contextmanager
    def applied(self, plan: Mapping[str, str]) -> Iterator[None]:
        """Apply the formats of a plan to the model while the context is open; groups that it does not name stay as they are."""
        whole = {g.name: plan.get(g.name, "bf16") for g in self.groups}
        hooks = []
        try:
            for group, form in formats_of(whole, self.groups):
                if form.weights is None:
                    continue
                for name in group.modules:
                    self.linears[name].weight.data = self.rounded(name, form.name)
                    if form.inputs is not None:
                        hooks.append(
                            self.linears[name].register_forward_pre_hook(
                                lambda _m, inputs, form=form: (rounded_inputs(inputs[0], form),)
                            )
                        )
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for name, layer in self.linears.items():
                layer.weight.data = self._weights[name]

    @torch.no_grad()
    def remember(self, name: str, windows: Ids) -> None:
        """Keep the float model's logits on windows of text: (windows, tokens)."""
        ids = self._tensor(windows)
        kept = [self._logits(ids[i : i + BATCH_WINDOWS]) for i in range(0, len(ids), BATCH_WINDOWS)]
        if not all(bool(torch.isfinite(part).all()) for part in kept):
            raise NotAModel(
                "The model answers with NaN or infinite logits, with which nothing can be compared.",
                remedy="Check the weights.",
            )
        self._reference[name] = (ids, torch.cat(kept))

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=ids, use_cache=False).logits.float()
        return logits

    @torch.no_grad()
    def kl_nat(self, name: str) -> Floats:
        """Return KL(float model || model with the applied formats), the mean over the tokens of each remembered window: (windows,)."""
        ids, reference = self._reference[name]
        means = []
        for at in range(0, len(ids), BATCH_WINDOWS):
            batch = slice(at, at + BATCH_WINDOWS)
            windows = zip(reference[batch], self._logits(ids[batch]), ids[batch], strict=True)
            # float64: in float32 the rounded normalization of a softmax alone is as large as a KL of 1e-7.
            means += [window_quality(kept, now, window).kl_nat.mean() for kept, now, window in windows]
        return np.asarray(means, dtype=np.float64)

    def fisher_kl_nat(self, windows: Ids, forms: list[str], *, seed: int) -> dict[tuple[str, str], float]:
        """Return the KL that a second-order expansion predicts for each (group, format), from one backward pass per window.

        Half the mean of (gradient · change of weights)² with labels drawn from the model itself, per token: the
        diagonal of the Fisher information seen along one direction (Kunstner et al. 2019, arXiv 1905.12558, on why
        labels are drawn). Rounding of inputs is left out.

        Args:
            windows: (windows, tokens).
            forms: Formats.
            seed: Of the labels.
        """
        ids = self._tensor(windows)
        generator = torch.Generator(device=ids.device).manual_seed(seed)
        total: dict[tuple[str, str], float] = {}
        for layer in self.linears.values():
            layer.weight.requires_grad_(True)
        for window in ids:
            logits = self.model(input_ids=window[None], use_cache=False).logits[0]
            drawn = torch.multinomial(log_probabilities(logits.detach()).exp(), 1, generator=generator)[:, 0]
            self.model.zero_grad()
            torch.nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                for group in self.groups:
                    for form in (f for f in forms if self.fits(group, f)):
                        along = 0.0
                        for m in group.modules:
                            gradient = self.linears[m].weight.grad  # None: an expert that no token went to
                            if gradient is not None:
                                along += float((gradient * (self.rounded(m, form) - self._weights[m])).sum())
                        key = (group.name, form)
                        total[key] = total.get(key, 0.0) + along**2
        for layer in self.linears.values():
            layer.weight.requires_grad_(False)
            layer.weight.grad = None
        return {key: value / 2 / ids.numel() for key, value in total.items()}
