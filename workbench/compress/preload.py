"""What the fork server imports once, so that every variant starts with torch already loaded."""

from workbench.compress.quiet import quiet_libraries

quiet_libraries()

import torchao.quantization  # noqa: E402, F401
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402, F401

import workbench.compress.torch_model  # noqa: E402
import workbench.compress.worker  # noqa: E402, F401
