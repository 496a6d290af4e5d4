"""Ways to fuse an image with a caption, by name; imports nothing of PyTorch."""

MODALITIES = ("image", "text")
FUSIONS: dict[str, str] = {
    "early": "early: one sequence of all features",
    "mid": "mid: each attends to the other",
    "late": "late: weighed logits",
}
