import json
import re

import pytest

from workbench.catalog.formats import (
    FORMATS,
    SCHEMES,
    config_groups,
    formats_of,
    group_named,
    layer_groups,
    quantization_config,
    recipe,
)
from workbench.core.errors import InvalidSpec
from workbench.questions.quantization.checkpoint.spec import CheckpointSpec

MODULES = [
    f"model.layers.{i}.{part}"
    for i in range(2)
    for part in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
]


def test_layers_that_engines_fuse_are_one_group_and_the_head_is_none() -> None:
    groups = layer_groups([*MODULES, "lm_head"])
    assert [g.role for g in groups] == ["qkv", "o_proj", "gate_up", "down_proj"] * 2
    assert groups[0].modules == tuple(MODULES[:3])
    assert groups[5].layer == 1


def test_stored_bits_count_the_scales() -> None:
    assert FORMATS["w4a16"].stored_bits(in_features=4096) == 4 + 16 / 128
    assert FORMATS["w8a8"].stored_bits(in_features=4096) == 8 + 16 / 4096
    assert FORMATS["nvfp4a16"].stored_bits(in_features=4096) == 4.5


def test_a_plan_by_role_holds_in_all_layers_and_leaves_the_rest_plain() -> None:
    groups = layer_groups(MODULES)
    formats = {g.name: f.name for g, f in formats_of({"qkv": "fp8", "gate_up": "w4a16"}, groups)}
    assert formats["model.layers.1.self_attn.qkv"] == "fp8"
    assert formats["model.layers.0.mlp.gate_up"] == "w4a16"
    assert formats["model.layers.0.mlp.down_proj"] == "bf16"


def test_a_mixed_recipe_names_every_module_once_and_says_so_in_the_configuration() -> None:
    groups = layer_groups(MODULES)
    made = config_groups({"qkv": "w8a8", "gate_up": "w4a16"}, groups)
    targets = [t for g in made.values() for t in g["targets"]]
    assert sorted(targets) == sorted(m for m in MODULES if "o_proj" not in m and "down" not in m)
    assert quantization_config(made, kept=["lm_head"])["format"] == "mixed-precision"
    assert quantization_config({"w4a16": made["w4a16"]}, kept=[])["format"] == "pack-quantized"


def test_a_plan_for_another_model_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="for another model"):
        config_groups({"model.layers.7.mlp.gate_up": "w4a16"}, layer_groups(MODULES))


EXPERTS = [
    "model.layers.0.self_attn.q_proj",
    *(f"model.layers.0.mlp.experts.{i}.{m}" for i in range(4) for m in ("gate_up_proj", "down_proj")),
    "model.layers.0.mlp.shared_experts.up_proj",
]


def test_the_experts_of_a_layer_are_one_group_and_one_pattern_of_a_recipe() -> None:
    groups = layer_groups(EXPERTS)
    assert [g.name.removeprefix("model.layers.0.") for g in groups] == [
        "self_attn.qkv",
        "mlp.experts",
        "mlp.shared_experts.gate_up",
    ]
    (target,) = groups[1].targets
    assert all(re.match(target.removeprefix("re:"), name) for name in groups[1].modules)
    assert group_named("model.layers.0.mlp.experts").targets == groups[1].targets


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (
            {"qvk": "w8a8"},
            r"does not know qvk; the nearest is qkv\. .*roles for all layers: qkv, o_proj, gate_up, down_proj\.",
        ),
        ({"qkv": "w8a8", "gateup": "w4a16"}, "nearest is gate_up"),
        ({"model.layers.0.self_attn.qvk": "w8a8"}, r"nearest is model\.layers\.\d\.self_attn\.qkv"),
        ({"experts": "w4a16"}, "does not know experts"),
        ({}, "names no layer group"),
        ({"qkv": "bf16"}, "quantizes no layer"),
    ],
)
def test_a_plan_that_matches_nothing_or_a_part_names_the_right_group(plan: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        recipe(plan, layer_groups(MODULES))
    assert re.search(says, str(refused.value))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"schemes": ("gptq-w1",)}, "Unknown schemes: gptq-w1"),
        ({"schemes": ()}, "No scheme"),
        ({"schemes": ("mixed",)}, "belong together"),
        ({"schemes": ("mixed",), "plan": {"qkv": "w9"}}, "Unknown formats in the plan: w9"),
        ({"n_samples": 0}, "n_samples"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidSpec, match=told):
        CheckpointSpec(model="m", **values)  # type: ignore[arg-type]


def test_a_spec_survives_json_and_every_scheme_names_a_format() -> None:
    spec = CheckpointSpec(model="m", schemes=("mixed",), plan={"qkv": "w8a8"})
    assert CheckpointSpec.from_dict(spec.to_dict()) == spec
    assert all(s.format in FORMATS for s in SCHEMES.values())


def test_a_recipe_gives_integers_to_gptq_and_rounds_floats() -> None:
    groups = layer_groups(MODULES)
    steps = json.loads(recipe({"qkv": "fp8", "gate_up": "w4a16"}, groups))["quantization_stage"][
        "quantization_modifiers"
    ]
    assert list(steps) == ["GPTQModifier", "QuantizationModifier"]
    quantized = {t for s in steps.values() for g in s["config_groups"].values() for t in g["targets"]}
    assert quantized == {m for m in MODULES if "o_proj" not in m and "down" not in m}
    assert "model.layers.0.self_attn.o_proj" in steps["GPTQModifier"]["ignore"]
    assert "model.layers.0.self_attn.q_proj" in steps["GPTQModifier"]["ignore"]
