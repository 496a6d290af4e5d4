"""Number formats by device, as vLLM has kernels for them."""

import pytest

from workbench.catalog.formats import FORMATS
from workbench.catalog.kernels import has_fp8_cache, kernel_format
from workbench.catalog.tables import devices


@pytest.mark.parametrize(
    ("device", "computed"),
    [
        ("v100-sxm2-16", {"bf16": "fp16", "fp8": None, "w4a16": None, "mxfp4": None}),
        ("t4", {"bf16": "fp16", "fp8": "fp8a16", "w4a16": "w4a16", "w8a8": "w8a8", "mxfp4": None}),
        ("a100-sxm-80", {"bf16": "bf16", "fp8": "fp8a16", "w8a8": "w8a8", "mxfp4": "mxfp4", "nvfp4": "nvfp4a16"}),
        ("a10g", {"fp8": "fp8a16", "w4a16": "w4a16"}),
        ("l4", {"fp8": "fp8", "w8a8": "w8a8", "nvfp4": "nvfp4a16"}),
        ("h100-sxm", {"fp8": "fp8", "w8a8": "w8a8", "mxfp4": "mxfp4", "nvfp4": "nvfp4a16"}),
        ("b200-sxm", {"fp8": "fp8", "w8a8": None, "mxfp4": "mxfp4", "nvfp4": "nvfp4"}),
        ("rtx5090", {"fp8": "fp8", "w8a8": None, "nvfp4": "nvfp4", "w4a16": "w4a16"}),
        ("mi300x", {"bf16": "bf16", "fp8": "fp8", "nvfp4": None}),
        ("grace", {"bf16": None}),
    ],
)
def test_a_precision_is_computed_as_vllm_has_kernels(device, computed):
    found = {precision: kernel_format(precision, devices()[device]) for precision in computed}
    assert found == computed


def test_no_device_has_a_kernel_for_formats_that_vllm_cannot_read():
    assert {kernel_format(f"w{n}a16", d) for n in (3, 5, 6) for d in devices().values()} == {None}
    assert all(kernel_format(p, d) in {None, *FORMATS} for p in FORMATS for d in devices().values())


def test_a_cache_in_fp8_needs_ampere():
    assert [has_fp8_cache(devices()[d]) for d in ("t4", "a100-sxm-80", "h100-sxm", "mi210")] == [
        False,
        True,
        True,
        False,
    ]
