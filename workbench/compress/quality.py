"""How far a model's next-token distributions are from the reference's."""

import torch

from workbench.compress.variant import WindowQuality

TOKENS_AT_ONCE = 64  # bounds the float64 copies: 64 tokens x 128k words x 8 B = 66 MB


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the log-softmax of logits in float64: (tokens, vocabulary)."""
    return torch.log_softmax(logits.double(), dim=-1)


@torch.inference_mode()
def window_quality(reference_logits: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> WindowQuality:
    """Return KL(reference || variant), negative log-likelihood and top-1 agreement of each token.

    Args:
        reference_logits: (tokens, vocabulary) of the reference, float32.
        logits: (tokens, vocabulary) of the variant.
        targets: (tokens,) ids that really came next.
    """
    kl, nll, agrees = [], [], []
    for at in range(0, logits.shape[0], TOKENS_AT_ONCE):
        part = slice(at, at + TOKENS_AT_ONCE)
        reference = log_probabilities(reference_logits[part].to(logits.device))
        variant = log_probabilities(logits[part])
        kl.append((reference.exp() * (reference - variant)).sum(-1))
        nll.append(-variant.gather(-1, targets[part, None].to(logits.device))[:, 0])
        agrees.append(reference.argmax(-1) == variant.argmax(-1))
    return WindowQuality(
        torch.cat(kl).clamp_min(0).cpu().numpy(), torch.cat(nll).cpu().numpy(), torch.cat(agrees).cpu().numpy()
    )
