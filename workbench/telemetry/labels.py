"""What readers see of signals: their labels, which recordings keep in English, perhaps in the words of an earlier version."""

import functools
from collections.abc import Mapping

from workbench.core.language import SOURCE, gettext, language
from workbench.core.stored_texts import in_readers_words
from workbench.telemetry.gpu_source import MIG_LABEL, QUANTITIES
from workbench.telemetry.host_source import SIGNALS
from workbench.telemetry.metrics_source import FAMILIES
from workbench.telemetry.samples import Signal


def shown_label(signal: Signal) -> str:
    """Return the label of a signal in the reader's language."""
    if language() == SOURCE:
        return signal.label
    source, _, name = signal.name.removesuffix(".per_s").partition(".")
    known = _labels().get(name if source.startswith("gpu") else f"{source}.{name}")
    return gettext(known) if known else in_readers_words(signal.label, (MIG_LABEL,))


@functools.cache
def _labels() -> Mapping[str, str]:
    """Return the labels that signals have now, by name; those of GPUs by the quantity."""
    of_gpus = {quantity: label for quantity, _, label, _ in QUANTITIES}
    of_servers = {f"engine.{name}": label for name, _, label, _ in FAMILIES}
    return of_gpus | of_servers | {name: signal.label for name, signal in SIGNALS.items()}
