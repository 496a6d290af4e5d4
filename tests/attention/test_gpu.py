"""On an NVIDIA GPU: every technique that this device has, against float64, and memory that runs out."""

import pytest
import torch

from workbench.attention import timing
from workbench.attention.cells import measure_cell
from workbench.attention.rows import Ceilings, MissingCell, TimedCell
from workbench.attention.techniques import attention_call
from workbench.attention.timing import HeadShape
from workbench.catalog.attention_techniques import TECHNIQUES, AttentionOptions
from workbench.core.errors import NotAvailable

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
    pytest.mark.filterwarnings("ignore"),
]
SHAPES = [(1000, 1000), (1, 3001), (257, 1900), (4096, 4096)]
OPTIONS = AttentionOptions(window=300, block=128, top_k=4, chunk=333, n_splits=5, n_vertical=60, n_slash=60)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("technique", [t for t in TECHNIQUES if not t.endswith("flex")])
def test_it_is_the_float64_reference_in_bfloat16(technique, shape):
    q, k, v = timing.tensors(HeadShape(8, 2, 128), n_queries=shape[0], n_keys=shape[1], device="cuda", seed=1)
    try:
        with torch.inference_mode():
            out = attention_call(q, k, v, technique=technique, options=OPTIONS)()
    except NotAvailable as error:
        pytest.skip(error.cause)
    own, from_full = timing.deviations(out, q, k, v, technique=technique, options=OPTIONS)
    assert not out.isnan().any()
    if own is not None:
        assert own <= 2e-2
    if TECHNIQUES[technique].pattern == "full":
        assert from_full < 0.02


@pytest.mark.parametrize("technique", ["window-flex", "sink-window-flex", "paged-flex"])
def test_compiled_flex_attention_is_the_float64_reference(technique):
    q, k, v = timing.tensors(HeadShape(8, 2, 128), n_queries=1000, n_keys=1500, device="cuda", seed=1)
    with torch.inference_mode():
        out = attention_call(q, k, v, technique=technique, options=OPTIONS)()
    own, _ = timing.deviations(out, q, k, v, technique=technique, options=OPTIONS)
    assert own is not None
    assert own <= 2e-2


def test_memory_that_runs_out_is_a_result_and_the_device_goes_on():
    ceilings = Ceilings(copy_bytes_per_s=1.0, matmul_flop_per_s=1.0)
    named = {"phase": "prefill", "shape": HeadShape(32, 8, 128), "options": OPTIONS, "ceilings": ceilings}
    named |= {"rounds": 1, "device": "cuda", "seed": 0, "energy_j": lambda: None}
    missing = measure_cell("math", length=262144, **named)
    assert isinstance(missing, MissingCell)
    assert missing.status == "out of memory"
    assert timing.in_use_bytes("cuda") < 2**30
    assert isinstance(measure_cell("flash", length=1024, **named), TimedCell)
