import pytest
from support import invented_run

from workbench.compress.methods import METHODS, unavailable_reason
from workbench.compress.spec import QuantizationSpec
from workbench.core.devices import Device
from workbench.core.errors import InvalidSpec
from workbench.store.decoding import run_from_json


def test_a_spec_survives_json():
    spec = QuantizationSpec(model="m", methods=("fp32", "bf16"), batches=(1, 4))
    assert QuantizationSpec.from_dict(spec.to_dict()) == spec


def test_a_spec_as_code_makes_the_same_spec():
    spec = QuantizationSpec(model="m", methods=("fp32",), rounds=3)
    code = spec.as_code().replace("result = run(spec)", "").replace("from workbench.measuring.envelope import run", "")
    scope = {}
    exec(code, scope)
    assert scope["spec"] == spec


@pytest.mark.parametrize(
    "wrong",
    [
        {"methods": ("int3",)},
        {"methods": ()},
        {"n_windows": 0},
        {"rounds": -1},
        {"batches": ()},
        {"batches": (0,)},
        {"device": "tpu"},
        {"compile": "maybe"},
    ],
)
def test_a_wrong_value_names_itself_and_the_remedy(wrong):
    with pytest.raises(InvalidSpec) as caught:
        QuantizationSpec(model="m", **wrong)
    assert caught.value.remedy
    assert next(iter(wrong)).split("_")[-1][:4].lower() in caught.value.cause.lower()


def test_unknown_fields_are_refused():
    with pytest.raises(InvalidSpec, match="bits"):
        QuantizationSpec.from_dict({"model": "m", "bits": 4})


def test_results_survive_json():
    run = invented_run()
    assert run_from_json(run.to_json()) == run


def test_every_method_says_whether_a_device_can_run_it(cpu):
    assert [m for m in METHODS if unavailable_reason(m, cpu)] == ["fp8-dynamic"]
    turing = Device(kind="cuda", name="T4", memory_bytes=1, free_bytes=1, compute_capability=7.5)
    hopper = Device(kind="cuda", name="H200", memory_bytes=1, free_bytes=1, compute_capability=9.0)
    assert "8.9" in unavailable_reason("fp8-dynamic", turing)
    assert unavailable_reason("bf16", turing)
    assert [m for m in METHODS if unavailable_reason(m, hopper)] == [m for m in METHODS if m.startswith("onnx")]
