"""Most likely next tokens at every position, as vLLM sees them. Runs in vLLM's own environment.

    python top1.py REQUEST.json

The request (JSON): ``model`` and ``windows`` (lists of token ids of one length). One line on standard output begins
with "{": a JSON object with ``top1``, (windows, tokens).
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace


def main() -> None:
    """Read the request, load the model and read the windows."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # a model that cannot be loaded says why only in this process
    request = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    from vllm import LLM, SamplingParams

    windows = request.windows
    llm = LLM(
        model=request.model,
        skip_tokenizer_init=True,
        max_model_len=len(windows[0]) + 8,
        enforce_eager=True,
        enable_prefix_caching=False,
        max_num_seqs=4,
    )
    sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1, detokenize=False)
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in windows], sampling, use_tqdm=False)
    top1 = []
    for output in outputs:
        row = [min(words.items(), key=lambda item: item[1].rank)[0] for words in output.prompt_logprobs[1:]]
        top1.append([*row, output.outputs[0].token_ids[0]])
    sys.stdout.write(json.dumps({"top1": top1}) + "\n")


if __name__ == "__main__":
    main()
