"""Lines of ``data/models.csv`` and of the reader's own models, as they stand there."""

from dataclasses import dataclass

from workbench.catalog.config_file import LARGEST
from workbench.catalog.csv_rows import rows_of
from workbench.catalog.own_rows import cached_while_unchanged
from workbench.core.language import gettext


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model of the catalogue; what its architecture does not have, or what is not known, is None."""

    model: str
    architecture: str
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    intermediate: int | None = None
    moe_intermediate: int | None = None
    experts: int | None = None
    shared_experts: int | None = None
    experts_per_token: int | None = None
    first_dense_layers: int | None = None
    vocab: int | None = None
    max_context: int | None = None
    tied_embeddings: bool = False
    attention: str
    sliding_window: str = ""
    """Windows in words, such as "1024, local:global 5:1"."""
    kv_bytes_per_token_bf16: int | None = None
    params_total: int
    params_active: int | None = None
    official_precision: str = ""
    """What its maker's checkpoint stores, as a name in ``FORMATS``; 16 bits where it is empty."""
    official_bytes: int | None = None
    """Size of that checkpoint, where it is published."""
    note: str = ""
    provenance: str
    source: str

    def __post_init__(self) -> None:
        if not self.model or len(self.model) > 200 or not self.model.isprintable() or set(self.model) & set("<>\"'`"):
            raise ValueError(gettext("{name} is no name of a model").format(name=f"{self.model!r:.60}") + ": `model`")
        for column in SIZES:
            value = getattr(self, column)
            if value is not None and not 0 < value <= LARGEST * 10:
                raise ValueError(
                    gettext("{n} is no size above zero that a model can have").format(n=value) + f": `{column}`"
                )
        if not 0 < self.params_total <= MOST_PARAMETERS:
            raise ValueError(gettext("{n} is no number of parameters").format(n=self.params_total) + ": `params_total`")
        if self.params_active is not None and not 0 < self.params_active <= self.params_total:
            raise ValueError(
                gettext("{n} is not above 0 and up to all parameters").format(n=self.params_active)
                + ": `params_active`"
            )
        if self.kv_bytes_per_token_bf16 is not None and not 0 <= self.kv_bytes_per_token_bf16 <= LARGEST * 10:
            raise ValueError(
                gettext("{n} is no cache of a token").format(n=self.kv_bytes_per_token_bf16)
                + ": `kv_bytes_per_token_bf16`"
            )
        if self.layers and self.kv_bytes_per_token_bf16 and self.kv_bytes_per_token_bf16 % 2:
            raise ValueError(
                gettext("{n} is odd, and BF16 has 2 bytes").format(n=self.kv_bytes_per_token_bf16)
                + ": `kv_bytes_per_token_bf16`"
            )


SIZES = (
    *("layers", "hidden", "heads", "kv_heads", "head_dim", "intermediate", "moe_intermediate", "experts"),
    *("shared_experts", "experts_per_token", "first_dense_layers", "vocab", "max_context"),
)
MOST_PARAMETERS = 10**14


@cached_while_unchanged("models.csv")
def model_rows() -> tuple[ModelRow, ...]:
    """Return all lines of the table, the reader's own last: of one name the last holds."""
    rows = {row.model: row for row in rows_of("models.csv", ModelRow)}
    return tuple(rows.values())
