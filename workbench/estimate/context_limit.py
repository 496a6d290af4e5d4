"""The longest request that a model takes: one check for everything that is asked with lengths."""

from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import InvalidSpec


def require_within_context(model: ModelSpec, input_tokens: int, output_tokens: int = 0) -> None:
    """Raise ``InvalidSpec`` for a request beyond the model's own length; a limit that is not known is not checked."""
    asked, limit = input_tokens + output_tokens, model.max_context_tokens
    if not limit or asked <= limit:
        return
    parts = f" ({input_tokens:,} in and {output_tokens:,} out)" if output_tokens else ""
    raise InvalidSpec(
        f"{model.name} takes at most {limit:,} tokens of prompt and answer together; {asked:,} were asked for{parts}.",
        remedy=f"Ask for at most {limit:,} tokens, or choose a model that was made for longer contexts.",
    )
