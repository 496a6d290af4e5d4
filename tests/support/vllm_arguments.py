"""Read command lines from standard input, one JSON list of words a line, with vLLM's own parser; runs in vLLM's environment."""

import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
from vllm.utils.argparse_utils import FlexibleArgumentParser

FIELDS = ("model_tag", "max_model_len", "max_num_seqs", "tensor_parallel_size", "pipeline_parallel_size")
FIELDS += ("data_parallel_size", "enable_expert_parallel", "quantization", "kv_cache_dtype", "dtype")


class Parser(FlexibleArgumentParser):
    """vLLM's parser, which raises instead of ending the process."""

    def error(self, message):
        raise ValueError(message)


def main():
    parser = make_arg_parser(Parser())
    for line in sys.stdin:
        try:
            parsed = vars(parser.parse_args(json.loads(line)))
            if parsed["quantization"] not in {None, *QUANTIZATION_METHODS}:
                raise ValueError(f"quantization {parsed['quantization']}")
            print(json.dumps({name: parsed[name] for name in FIELDS}, default=str))
        except ValueError as error:
            print(json.dumps({"error": str(error)}))


main()
