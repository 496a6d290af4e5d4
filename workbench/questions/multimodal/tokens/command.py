"""Commands that count the tokens of an image and estimate the cost of a request with images."""

import json
from dataclasses import asdict

from workbench.interface.command import AsJson, print_table
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out
from workbench.questions.multimodal.tokens import findings
from workbench.questions.multimodal.tokens.spec import ImageCostSpec, ImageTokensSpec


@asks_for(ImageTokensSpec)
def images_tokens(spec: ImageTokensSpec, *, as_json: AsJson = False) -> None:
    """Count the tokens that an image takes in a prompt, as the model's processor does."""
    tokens = findings.tokens_of(spec)
    if as_json:
        print(json.dumps({name: asdict(t) for name, t in tokens.items()}, indent=1))
        return
    print_table(findings.MODEL_HEAD, (findings.model_row(name, t) for name, t in tokens.items()))


@asks_for(ImageCostSpec)
def images_cost(spec: ImageCostSpec, *, as_json: AsJson = False) -> None:
    """Estimate memory, device time and price of a request with images; the host's image processing is not included."""
    if as_json:
        basis: dict[str, object] = {"model": spec.model, "device": spec.device, "provenance": "estimated"}
        basis |= {"usd_per_hour": findings.price_of(spec)[0], **asdict(findings.cost_of(spec))}
        print(json.dumps(basis, indent=1))
        return
    out.print(findings.verdict(spec).headline)
    print_table(findings.COST_HEAD, findings.cost_rows(spec))


COMMANDS = (images_tokens, images_cost)
