"""A scheduler for vLLM whose limits follow a file, so that a grid of settings is measured without a launch for each.

For measurements only: memory, CUDA graphs and compiled code stay those of the launch, which should have the largest values. vLLM loads
it by ``--scheduler-cls workbench.engines.inside_vllm.live_limits.LiveScheduler`` (0.26 and 0.32); WORKBENCH_LIVE_LIMITS names the file.
"""

import json
import os
from pathlib import Path
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # type: ignore[import-not-found,unused-ignore]


class LiveScheduler(AsyncScheduler):  # type: ignore[misc,unused-ignore]
    """vLLM's own scheduler, which looks at the file before each step."""

    max_num_running_reqs: int
    max_num_active_reqs: int
    max_num_scheduled_tokens: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits_file = Path(os.environ["WORKBENCH_LIVE_LIMITS"])
        self._limits_changed = 0
        self._most_sequences = self.max_num_running_reqs
        self._most_tokens = self.max_num_scheduled_tokens
        self._has_prefix_cache = self.kv_cache_manager.enable_caching

    def schedule(self, *args: Any, **options: Any) -> Any:
        """Return the next step under the limits that the file holds now."""
        self._follow()
        return super().schedule(*args, **options)

    def _follow(self) -> None:
        try:
            changed = self._limits_file.stat().st_mtime_ns
            if changed != self._limits_changed:
                limits = json.loads(self._limits_file.read_text())
                self._limits_changed = changed
                self._most_tokens = int(limits["max_num_batched_tokens"])
                self._most_sequences = int(limits["max_num_seqs"])
                self.scheduler_config.long_prefill_token_threshold = int(limits["long_prefill_token_threshold"])
                self.kv_cache_manager.enable_caching = self._has_prefix_cache and bool(limits["prefix_caching"])
        except OSError:
            return
        self.max_num_scheduled_tokens = self._most_tokens
        if hasattr(self, "max_num_active_reqs"):  # in 0.32, not in 0.26: admission apart from the slots of the runner
            self.max_num_active_reqs = self._most_sequences
        else:  # sequences that run already go on; the scheduler refuses to hold more than its limit
            self.max_num_running_reqs = max(self._most_sequences, len(self.running))
