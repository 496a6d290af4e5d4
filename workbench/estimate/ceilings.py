"""Published peaks of the catalogue's devices, as the arithmetic takes them."""

from workbench.catalog.kernels import has_bf16
from workbench.catalog.tables import device_named
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.estimate.roofline import Ceilings


def published_ceilings(device_id: str) -> Ceilings:
    """Return the peaks of a device of the catalogue, those of FP16 where it has no BF16.

    Raises ``NotAvailable`` when it is not there or has neither.
    """
    device = device_named(device_id)
    sixteen = device.bf16_flop_per_s if has_bf16(device) else device.fp16_flop_per_s
    if sixteen is None:
        raise NotAvailable(
            gettext("The catalogue has no 16-bit peak of {device}.").format(device=device_id),
            remedy=gettext("Name a device that has one: `workbench devices list`."),
        )
    eight = device.fp8_flop_per_s or device.int8_op_per_s or sixteen
    return Ceilings(
        bandwidth_bytes_per_s=device.bandwidth_bytes_per_s,
        flop_per_s={16: sixteen, 8: eight, 4: device.fp4_flop_per_s or eight},
    )
