"""What tokens cost on hardware that is paid by the hour."""

from itertools import pairwise


def usd_per_million_output_tokens(
    usd_per_hour: float, *, decode_s: float, batch: float, utilisation_fraction: float
) -> float:
    """Price of a million generated tokens; time spent on reading prompts is left out.

    Args:
        usd_per_hour: Price of the machine.
        decode_s: Time of one decoding step, which makes one token for each sequence.
        batch: Sequences decoded together.
        utilisation_fraction: Share of the paid time in which the machine decodes.
    """
    return usd_per_hour / 3600 * decode_s / (batch * utilisation_fraction) * 1e6


def usd_per_million_input_tokens(
    usd_per_hour: float, *, prefill_tokens_per_s: float, utilisation_fraction: float
) -> float:
    """Price of reading a million prompt tokens."""
    return usd_per_hour / 3600 / (prefill_tokens_per_s * utilisation_fraction) * 1e6


def decode_s_at(batch: float, measured: dict[int, float]) -> float:
    """Step time at a batch size between measured ones, linear in the batch; constant outside.

    A step's time is a fixed part (weights are read once) plus a part that grows with the batch, so
    straight lines between measurements are the natural reading.
    """
    batches = sorted(measured)
    if batch <= batches[0]:
        return measured[batches[0]]
    for low, high in pairwise(batches):
        if batch <= high:
            share = (batch - low) / (high - low)
            return measured[low] + share * (measured[high] - measured[low])
    return measured[batches[-1]]
