"""A neighbour on the same GPU: large products, one after the other, until its parent is gone.

python -m workbench.apparatus.gpu_burden SHARE [--device cuda|cpu]

Prints "ready", then the number of products for every line that it is sent.
"""

import argparse
import sys
import threading
import time

import torch

ROWS = {"cuda": 8192, "cpu": 256}


def main() -> None:
    """Compute for SHARE of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("share", type=float)
    parser.add_argument("--device", default="cuda")
    asked = parser.parse_args()
    rows = ROWS[asked.device]
    a = torch.randn(rows, rows, device=asked.device, dtype=torch.bfloat16 if asked.device == "cuda" else torch.float32)
    done, over = [0], threading.Event()

    def compute() -> None:
        while not over.is_set():
            began = time.perf_counter()
            a @ a
            if asked.device == "cuda":
                torch.cuda.synchronize()
            done[0] += 1
            time.sleep((time.perf_counter() - began) * (1 / asked.share - 1))

    thread = threading.Thread(target=compute)
    thread.start()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(done[0], flush=True)
    over.set()
    thread.join()


if __name__ == "__main__":
    main()
