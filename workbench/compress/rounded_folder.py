"""A model folder with its linear layers' weights rounded to few bits and back, so that any engine can serve the degraded model.

python -m workbench.compress.rounded_folder FOLDER TARGET BITS
"""

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from workbench.compress.fake_quant import int_scales, rounded_int

KEPT = ("embed_tokens", "lm_head", "norm")


def write_rounded(folder: Path, target: Path, *, bits: int) -> None:
    """Copy a folder of a causal language model, each row of its linear layers rounded to a symmetric grid of so many bits."""
    for file in folder.iterdir():
        if file.suffix != ".safetensors" and file.is_file():
            shutil.copy(file, target / file.name)
    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        for name, weight in tensors.items():
            if weight.ndim == 2 and not any(part in name for part in KEPT):
                whole = weight.to(torch.float32)
                tensors[name] = rounded_int(whole, int_scales(whole, bits=bits), bits=bits).to(weight.dtype)
        save_file(tensors, target / file.name, metadata={"format": "pt"})


def main() -> None:
    """Read the arguments and write the folder."""
    folder, target, bits = sys.argv[1:4]
    write_rounded(Path(folder), Path(target), bits=int(bits))


if __name__ == "__main__":
    main()
