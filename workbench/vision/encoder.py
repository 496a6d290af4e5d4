"""A text encoder of a known shape with random weights: for speed in several runtimes, not for answers."""

import torch
from torch import nn
from torch.nn import functional

# all-MiniLM-L6's shape (its model card and configuration, recalled)
LAYERS, WIDTH, HEADS, INNER, TOKENS = 6, 384, 12, 1536, 128


class EncoderLayer(nn.Module):
    """A transformer layer with normalization after each part, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape: (n, tokens, WIDTH)."""
        n, tokens = x.shape[0], x.shape[1]

        def split(y: torch.Tensor) -> torch.Tensor:
            return y.reshape(n, tokens, HEADS, WIDTH // HEADS).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            split(self.query(x)), split(self.key(x)), split(self.value(x))
        )
        x = self.norm1(x + self.out(attended.transpose(1, 2).reshape(n, tokens, WIDTH)))
        out: torch.Tensor = self.norm2(x + self.down(functional.gelu(self.up(x))))
        return out


class TextEncoder(nn.Module):
    """Embeddings of texts from embeddings of their words; the embedding table is left out, since a lookup costs next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(LAYERS))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return embeddings, (n, WIDTH), for words: (n, tokens, WIDTH)."""
        for layer in self.layers:
            words = layer(words)
        return words.mean(1)
