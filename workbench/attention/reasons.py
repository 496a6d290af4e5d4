"""Why something of attention or of a cache could not be measured: kept in English, shown in the reader's language."""

from workbench.core.language import gettext, gettext_noop
from workbench.core.stored_texts import in_readers_words

STATUSES = {
    "out of memory": gettext("out of memory"),
    "not available": gettext("not available"),
    "left out": gettext("left out"),
}
"""What readers see of a status."""
SHORTER_DID_NOT_FIT = gettext_noop("A shorter context did not fit already.")
SCORES_DO_NOT_FIT = gettext_noop("All scores take {needed}; {free} are free.")
NEEDS_NVIDIA = gettext_noop("PyTorch's {backend} attention exists for NVIDIA GPUs only.")
NO_HARD_END = gettext_noop("A processor's memory has no hard end, so the limit is predicted only.")
KEEPS_STATES = gettext_noop("{model} keeps states and has no KV cache.")
REASONS = (
    SHORTER_DID_NOT_FIT,
    SCORES_DO_NOT_FIT,
    NEEDS_NVIDIA,
    NO_HARD_END,
    KEEPS_STATES,
    gettext_noop("Offloading moves the cache from a GPU to the processor. Needs a GPU."),
    gettext_noop(
        "optimum-quanto is not installed; its first use compiles C++ for about five minutes. pip install optimum-quanto"
    ),
)


def shown_reason(reason: str) -> str:
    """Return a stored reason in the reader's language; as it is where it is none of these, such as an error's text."""
    return in_readers_words(reason, REASONS)
