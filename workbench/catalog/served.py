"""Precisions that an engine serves a model in: of its weights, and of its cache."""

from dataclasses import dataclass

from workbench.catalog.formats import FORMATS, MIXED, SCHEMES

FP8_KV = "+fp8-kv"
SERVED = ("bf16", "fp8", "w8a8", "w4a16", "w4a16-asym", MIXED, "bf16+fp8-kv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One precision to serve: a format for all linear layers, the plan, or a checkpoint's folder; and the cache's."""

    text: str
    format: str | None
    """A name in ``FORMATS`` or "mixed"; None for a folder."""
    folder: str | None
    kv_cache_dtype: str

    @classmethod
    def read(cls, text: str) -> "Served":
        """Return the precision that a text such as ``fp8``, ``fp8+fp8-kv`` or a folder names."""
        name = text.removesuffix(FP8_KV)
        known = name in FORMATS or name == MIXED
        cache = "fp8" if text.endswith(FP8_KV) else "auto"
        return cls(text=text, format=name if known else None, folder=None if known else name, kv_cache_dtype=cache)

    @property
    def label(self) -> str:
        """Name of the precision for readers."""
        if self.folder is not None:
            name = SCHEMES[self.folder].label if self.folder in SCHEMES else self.folder.rstrip("/").rsplit("/", 1)[-1]
        else:
            form = str(self.format)
            name = {"w4a16-asym": "W4A16 with zero points", MIXED: "mixed"}.get(form, form.upper())
        return name + (" · FP8 KV" if self.kv_cache_dtype == "fp8" else "")
