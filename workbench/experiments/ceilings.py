"""Published peaks of the catalogue's devices, as the arithmetic takes them."""

from workbench.catalog.tables import devices
from workbench.core.errors import NotAvailable
from workbench.estimate.roofline import Ceilings


def published_ceilings(device_id: str) -> Ceilings:
    """Peaks of a device of the catalogue; raises ``NotAvailable`` when it is not there or has no BF16."""
    device = devices().get(device_id)
    if device is None or device.bf16_flop_per_s is None:
        raise NotAvailable(
            f"The catalogue has no BF16 peak of {device_id}.", remedy="Name a row of data/hardware.csv that has one."
        )
    eight = device.fp8_flop_per_s or device.int8_op_per_s or device.bf16_flop_per_s
    return Ceilings(
        bandwidth_bytes_per_s=device.bandwidth_bytes_per_s, flop_per_s={16: device.bf16_flop_per_s, 8: eight}
    )
