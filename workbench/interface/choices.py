"""What several panels offer or suggest: models, and a price for the hardware."""

from workbench.catalog.prices import median_price
from workbench.catalog.tables import devices
from workbench.core.language import gettext
from workbench.telemetry.devices import catalog_id as known_device

# Two cores of a general-purpose virtual machine, a round figure for the reader to replace.
DEFAULT_CPU_USD_PER_HOUR = 0.10


def price_suggestion(hardware: str, device_name: str | None) -> tuple[float, str]:
    """A price with its source for a choice of hardware."""
    catalog_id = hardware.removeprefix("catalog:") if hardware.startswith("catalog:") else None
    if catalog_id is None and device_name:
        catalog_id = known_device(device_name) or next(
            (d.id for d in devices().values() if device_name in d.name), None
        )
    price = median_price(catalog_id) if catalog_id else None
    if price:
        return price.usd_per_gpu_hour, price.label
    if catalog_id:
        return DEFAULT_CPU_USD_PER_HOUR, gettext("no price of {device} is listed: put in your own").format(
            device=devices()[catalog_id].name
        )
    return DEFAULT_CPU_USD_PER_HOUR, gettext("a round figure for two cores, not a listed price: put in your own")
