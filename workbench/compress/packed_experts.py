"""A checkpoint of compressed-tensors whose experts are quantized: weights brought back to float, inputs rounded as its format rounds them.

transformers keeps all experts of a layer in one tensor, which is no linear layer: it reads some formats of experts, leaves out zero
points and the rounding of inputs, and draws the experts of other formats at random.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.format import infer_module_format
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    initialize_module_for_quantization,
)
from compressed_tensors.utils.match import is_match
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from workbench.compress.layers import plain_layers
from workbench.compress.routed_experts import SplitExperts
from workbench.core.errors import NotAModel, NotAvailable
from workbench.understanding.loading import packed_experts, refused_as_folder

LOCAL = re.compile(r"^(?P<module>.+)\.(?P<tensor>weight\w*|input_\w+|bias)$")
PLACE = re.compile(r"\.(?P<layer>\d+)\.(?:\w+\.)*?\w*experts\.(?P<number>\d+)\.(?P<matrix>\w+)$")
GATE, UP, DOWN = ("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")
"""Names of the matrices of an expert in checkpoints."""
REMEDY = "Serve the checkpoint with vLLM, and compare its answers there."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """The tensors of one layer of a checkpoint, and how they are quantized; ``scheme`` is None for a plain one."""

    tensors: Mapping[str, torch.Tensor]
    scheme: QuantizationScheme | None = None
    packing: str = ""

    def dense(self, *, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Return weight and bias in float."""
        if self.scheme is None:
            return {k: t.to(dtype) if t.is_floating_point() else t for k, t in self.tensors.items()}
        compressor = BaseCompressor.get_value_from_registry(
            self.packing or infer_module_format(torch.nn.Linear, self.scheme).value
        )
        tensors = compressor.decompress(dict(self.tensors), self.scheme)
        return {k: tensors[k].to(dtype) for k in ("weight", "bias") if k in tensors}


@dataclass(slots=True)
class _Expert:
    """The matrices of one expert by their role."""

    modules: dict[str, _Module] = field(default_factory=dict)

    def inputs(self, *roles: str) -> QuantizationArgs | None:
        """Return how the inputs of matrices are rounded, which share them."""
        given = [m.scheme.input_activations if m.scheme else None for r in roles if (m := self.modules.get(r))]
        if any(args != given[0] for args in given):
            raise NotAvailable("Gate and up matrix of an expert round their common inputs differently.", remedy=REMEDY)
        return given[0] if given else None


def read_packed_experts(place: str, *, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model of a checkpoint for which ``packed_experts`` holds, in evaluation mode; each matrix of an expert is a linear layer.

    Raises:
        NotAvailable: The layout of its experts or the rounding of its inputs is not known.
        NotAModel: It cannot be read, or lacks tensors.
    """
    name = Path(place).name
    assert packed_experts(place)
    with refused_as_folder(name):
        config = AutoConfig.from_pretrained(place)
        quantized = QuantizationConfig.model_validate(config.quantization_config)
        del config.quantization_config
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config)
        names = [n for n, _ in empty.named_modules()]
    own_names = {m["layer"]: n for n in names if (m := re.search(r"\.(?P<layer>\d+)\.(?:\w+\.)*?\w*experts$", n))}
    experts: dict[tuple[str, int], _Expert] = {}
    plain: dict[str, torch.Tensor] = {}
    inputs: dict[str, QuantizationArgs] = {}
    with refused_as_folder(name):
        modules = _modules(Path(place), quantized, own_names)
        for module, part in modules:
            _require_known_inputs(part, name)
            place_of_expert = PLACE.search(module)
            if place_of_expert:
                expert = experts.setdefault((place_of_expert["layer"], int(place_of_expert["number"])), _Expert())
                expert.modules[_role(place_of_expert["matrix"])] = part
                continue
            plain |= {f"{module}.{k}" if module else k: t for k, t in part.dense(dtype=dtype).items()}
            if part.scheme is not None and part.scheme.input_activations is not None:
                inputs[module] = part.scheme.input_activations
        with _quiet_about_experts():
            model, info = type(empty).from_pretrained(
                None, config=config, state_dict=plain, dtype=dtype, output_loading_info=True
            )
    wrong = sorted(
        key for key in (*info["missing_keys"], *info["unexpected_keys"]) if not re.search(r"\w*experts\.\w+$", str(key))
    )
    if wrong:
        raise NotAModel(
            f"{name} lacks or misnames {len(wrong)} tensors of its architecture, first {wrong[0]}.",
            remedy="Make or copy the folder again.",
        )
    for module, args in inputs.items():
        _round_inputs(model.get_submodule(module), args)
    plain_layers(model)
    _fill(model, experts, name=name, dtype=dtype)
    return model.eval()


@contextmanager
def _quiet_about_experts() -> Iterator[None]:
    """Leave out what transformers warns of: experts that are filled in afterwards."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _modules(
    folder: Path, quantized: QuantizationConfig, own_names: Mapping[str, str]
) -> Iterator[tuple[str, _Module]]:
    """Yield the layers of a checkpoint by name, and tensors outside layers with the name ""."""
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 - the file is no mapping
                match = LOCAL.match(key)
                module, local = (match["module"], match["tensor"]) if match else ("", key)
                tensors.setdefault(module, {})[local] = stored.get_tensor(key)
    linear = torch.nn.Linear(1, 1, device="meta")
    for module, parts in tensors.items():
        if "weight_scale" not in parts:
            yield module, _Module(tensors=parts)
            continue
        expert = PLACE.search(module)
        name = f"{own_names.get(expert['layer'], '')}.{expert['number']}.{expert['matrix']}" if expert else module
        schemes = [
            s for s in quantized.config_groups.values() if any(is_match(n, linear, s.targets) for n in (name, module))
        ]
        if len(schemes) != 1:
            raise NotAvailable(
                f"{len(schemes)} groups of the checkpoint's configuration are for {module}.", remedy=REMEDY
            )
        packing = schemes[0].format or (quantized.format if quantized.format != "mixed-precision" else "")
        yield module, _Module(tensors=parts, scheme=schemes[0], packing=packing)


def _role(matrix: str) -> str:
    for names in (GATE, UP, DOWN):
        if matrix in names:
            return names[0]
    raise NotAvailable(f"The matrix {matrix} of an expert is not known.", remedy=REMEDY)


def _require_known_inputs(part: _Module, name: str) -> None:
    args = part.scheme.input_activations if part.scheme else None
    if args is not None and args.dynamic is not True:
        raise NotAvailable(
            f"{name} rounds inputs with stored scales, which its experts do not share with a layer that transformers has.",
            remedy=REMEDY,
        )


def _round_inputs(layer: torch.nn.Module, args: QuantizationArgs | None) -> None:
    if args is not None:
        initialize_module_for_quantization(layer, QuantizationScheme(targets=["Linear"], input_activations=args))


@torch.no_grad()
def _fill(model: torch.nn.Module, experts: Mapping[tuple[str, int], _Expert], *, name: str, dtype: torch.dtype) -> None:
    """Give the linear layers of all experts the weights of the checkpoint."""
    left = dict(experts)
    for path, split in model.named_modules():
        layer = re.search(r"\.(\d+)\.", path)
        if not isinstance(split, SplitExperts) or layer is None:
            continue
        first = next(n for n, _ in split.get_submodule("0").named_children() if n != "down_proj")
        roles = (GATE[0], UP[0]) if first == "gate_up_proj" else (UP[0],)
        is_interleaved = len(roles) > 1 and split.is_interleaved()
        for number in range(split.n_experts):
            expert = left.pop((layer[1], number), _Expert())
            if set(expert.modules) != {*roles, DOWN[0]}:
                raise NotAModel(f"{name} lacks matrices of {path}.{number}.", remedy="Make or copy the folder again.")
            for target, parts in ((first, roles), ("down_proj", (DOWN[0],))):
                linear = split.get_submodule(f"{number}.{target}")
                dense = [expert.modules[role].dense(dtype=dtype) for role in parts]
                for key, own in linear.named_parameters():
                    joined = [d[key] for d in dense]
                    value = (
                        torch.stack(joined, dim=1).flatten(0, 1)
                        if is_interleaved and len(joined) > 1
                        else torch.cat(joined)
                    )
                    own.copy_(value)
                _round_inputs(linear, expert.inputs(*parts))
    if left:
        raise NotAvailable(
            f"The quantized experts of {name} lie in a layout of transformers that is not known.", remedy=REMEDY
        )
