"""What vLLM's log says of a launch, in the words of both versions that are supported."""

import pytest

from workbench.engines.vllm import LaunchParts

OLDER = """(Worker_TP0 pid=7) INFO [default_loader.py:308] Loading weights took 2.50 seconds
(Worker_TP1 pid=8) INFO [default_loader.py:308] Loading weights took 3.25 seconds
(EngineCore_DP0 pid=6) INFO [monitor.py:34] torch.compile takes 21.30 s in total
(Worker_TP0 pid=7) INFO [gpu_model_runner.py:4244] Graph capturing finished in 4 secs, took 0.57 GiB
(EngineCore_DP0 pid=6) INFO [core.py:250] init engine (profile, create kv cache, warmup model) took 35.12 seconds
"""
NEWER = """(Worker pid=3) INFO [default_loader.py:501] Loading weights took 0.06 seconds
(EngineCore pid=2) INFO [core.py:390] init engine (profile, create kv cache, warmup model) took 15.62 s (compilation: 9.50 s)
"""


@pytest.mark.parametrize(
    ("log", "parts"),
    [
        (OLDER, LaunchParts(weights_s=3.25, compiling_s=21.3, graphs_s=4, engine_s=35.12)),
        (NEWER, LaunchParts(weights_s=0.06, compiling_s=9.5, graphs_s=None, engine_s=15.62)),
        ("nothing", LaunchParts(weights_s=None, compiling_s=None, graphs_s=None, engine_s=None)),
    ],
)
def test_the_slowest_process_of_each_part_counts(log, parts):
    assert LaunchParts.of(log) == parts
