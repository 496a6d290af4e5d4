"""Constants of devices that were not measured: the nearest kind's, and never an inversion."""

from itertools import permutations

import numpy as np
import pytest

from workbench.catalog.formats import FORMATS
from workbench.catalog.models import catalog_models
from workbench.catalog.tables import devices
from workbench.estimate.device_calibration import machine_of, nearest_calibrations
from workbench.estimate.precision import roles_of
from workbench.estimate.step_time import decode_step_s, prompt_s

KNOWN = [d.id for d in devices().values() if d.memory_bytes and (d.bf16_flop_per_s or d.fp16_flop_per_s)]
MACHINES = {device_id: machine_of(device_id)[0] for device_id in KNOWN}
ALL = [m for m in catalog_models().values() if m.kv_layers]
MODELS = [ALL[i] for i in np.linspace(0, len(ALL) - 1, 40).round().astype(int)]
PRECISIONS = ("bf16", "fp8", "w8a8", "w4a16", "mxfp4", "nvfp4")
SHARE = 4
"""Every fourth model in one precision, the next fourth in the next: all models are asked in one precision or two."""
BATCH, CONTEXT = np.array([1.0, 16, 256]), np.array([128.0, 1024, 8192])


def _is_at_least(a, b, precision):
    """Whether a has the bandwidth and the peaks of b in the same kernel: of its products' numbers, and of 16 bits for attention."""
    (one, other), forms = (MACHINES[a].ceilings, MACHINES[b].ceilings), [MACHINES[x].kernel(precision) for x in (a, b)]
    peaks = [c.flop_per_s[FORMATS[f].product_bits] for c, f in zip((one, other), forms, strict=True)]
    return (
        forms[0] == forms[1]
        and one.bandwidth_bytes_per_s >= other.bandwidth_bytes_per_s
        and peaks[0] >= peaks[1]
        and one.flop_per_s[16] >= other.flop_per_s[16]
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_more_bandwidth_and_more_flop_are_never_slower(precision):
    able = [i for i in KNOWN if precision in MACHINES[i].kernels]
    pairs = [(a, b) for a, b in permutations(able, 2) if _is_at_least(a, b, precision)]
    assert len(pairs) > 100
    for model in MODELS[PRECISIONS.index(precision) % SHARE :: SHARE]:
        roles = roles_of(model, precision)
        times = {
            i: np.concatenate(
                [
                    decode_step_s(model, roles, MACHINES[i], batch=BATCH, context=CONTEXT[::-1], kv_bits=16),
                    prompt_s(model, roles, MACHINES[i], batch=np.ones(3), context=CONTEXT),
                ]
            )
            for i in able
        }
        slower = [(a, b) for a, b in pairs if not (times[a] <= times[b] * (1 + 1e-9)).all()]
        assert slower == [], model.name


def test_int4_takes_as_long_on_an_h200_as_on_an_h100():
    """Measured products take the same microseconds on both; a 70B at batch 1 was 29.3 ms on one and 20.0 on the other."""
    model = catalog_models()["meta-llama/Meta-Llama-3.1-70B"]
    roles, size = roles_of(model, "w4a16"), {"batch": np.ones(1), "context": np.full(1, 1024.0)}
    h200, h100 = (
        float(decode_step_s(model, roles, MACHINES[d], kv_bits=16, **size)[0]) for d in ("h200-sxm", "h100-sxm")
    )
    assert h200 == pytest.approx(h100, rel=0.05)
    assert h200 < 0.022


def test_constants_come_from_the_nearest_kind():
    assert [c.device_id for c in nearest_calibrations("h200-nvl")] == ["h200-sxm", "h100-sxm"]
    assert nearest_calibrations("l4")[0].device_id == "h100-sxm"  # the nearer bandwidth
    assert nearest_calibrations("b200-sxm")[0].device_id == "h200-sxm"
    machine, is_own = machine_of("h100-sxm")
    assert is_own
    assert "nvfp4a16" in machine.lent  # measured on the H200 alone
    assert "fp8" not in machine.lent
    assert set(FORMATS) - {"w3a16", "w5a16", "w6a16"} <= set(machine.known.curves)


def test_int4_with_zero_points_is_lent_by_its_distance_from_int4_without():
    h200, h100 = (machine_of(name)[0].known.curves for name in ("h200-sxm", "h100-sxm"))
    asymmetric, symmetric = h100["w4a16-asym"].bandwidth_fraction, h100["w4a16"].bandwidth_fraction
    assert h200["w4a16-asym"].bandwidth_fraction < asymmetric < symmetric
    assert asymmetric * 3.35 <= h200["w4a16-asym"].bandwidth_fraction * 4.8 * 1.001
