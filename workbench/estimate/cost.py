"""What tokens cost on hardware that is paid by the hour."""

import numpy as np


def usd_per_million_output_tokens(
    usd_per_hour: float, *, decode_s: float, batch: float, utilization_fraction: float
) -> float:
    """Price of a million generated tokens; time spent on prefill is left out.

    A step of ``decode_s`` makes one token for each sequence, in the share ``utilization_fraction`` of the paid time.
    """
    return usd_per_hour / 3600 * decode_s / (batch * utilization_fraction) * 1e6


def decode_s_at(batch: float, measured: dict[int, float]) -> float:
    """Return the step time at a batch size between measured ones, linear in the batch; constant outside.

    A step's time is a fixed part (weights are read once) plus a part that grows with the batch, so
    straight lines between measurements are the natural reading.
    """
    batches, seconds = zip(*sorted(measured.items()), strict=True)
    return float(np.interp(batch, batches, seconds))
