"""The longest request that a model takes: one check for everything that is asked with lengths."""

from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext


def require_within_context(model: ModelSpec, input_tokens: int, output_tokens: int = 0) -> None:
    """Raise ``InvalidSpec`` for a request beyond the model's own length; a limit that is not known is not checked."""
    asked, limit = input_tokens + output_tokens, model.max_context_tokens
    if not limit or asked <= limit:
        return
    parts = (
        gettext(" ({prompt} in and {answer} out)").format(prompt=f"{input_tokens:,}", answer=f"{output_tokens:,}")
        if output_tokens
        else ""
    )
    raise InvalidSpec(
        gettext(
            "{model} takes at most {limit} tokens of prompt and answer together; {asked} were asked for{parts}."
        ).format(model=model.name, limit=f"{limit:,}", asked=f"{asked:,}", parts=parts),
        remedy=gettext("Ask for at most {limit} tokens, or choose a model that was made for longer contexts.").format(
            limit=f"{limit:,}"
        ),
    )
