"""The causes that a diagnosis considers, with their titles, remedies and clues."""

from workbench.core.language import gettext_noop
from workbench.questions.latency.findings import causes as clue
from workbench.questions.latency.findings.causes import Cause, Clue
from workbench.questions.latency.findings.failed_requests import failures_grew

SAME_LOAD = clue.unchanged("offered_per_s")
SAME_PROMPTS = clue.unchanged("input_tokens")
GAVE_UP = clue.rose_by("gave_up_fraction", none=0.0, full=0.1, otherwise=0.0)


def _cause(key: str, title: str, remedy: str, *clues: tuple[float, Clue], needs: str | None = None) -> Cause:
    return Cause(key=key, title=title, remedy=remedy, clues=clues, needs=needs)


CAUSES: tuple[Cause, ...] = (
    _cause(
        gettext_noop("surge"),
        gettext_noop("The request rate is higher than before"),
        gettext_noop("Add replicas, or shed load at the gateway; 06_surge and 03_parallelism size both."),
        (4.0, clue.more_requests),
        (1.0, GAVE_UP),
        (1.0, clue.share_of_change("queue", "decode")),
        (1.0, clue.as_fast_alone),
    ),
    _cause(
        gettext_noop("longer prompts"),
        gettext_noop("Prompts are longer than before"),
        gettext_noop(
            "Find the client that sends them; limit the length, cache shared prefixes, or plan for the new mix."
        ),
        (4.0, clue.grew("input_tokens")),
        (1.0, clue.share_of_change("prefill", "queue")),
        (0.5, clue.as_fast_alone),
    ),
    _cause(
        gettext_noop("longer answers"),
        gettext_noop("Answers are longer than before"),
        gettext_noop("Check max_tokens and the prompt that asks for them; plan for the new mix."),
        (4.0, clue.grew("output_tokens")),
        (1.0, clue.share_of_change("decode", "queue")),
        (0.5, clue.as_fast_alone),
    ),
    _cause(
        gettext_noop("prefix cache missed"),
        gettext_noop("Prompts no longer share a prefix, so the prefix cache misses"),
        gettext_noop(
            "Look for a prompt template that now starts with a date, a name or an id; put the variable parts last."
        ),
        (4.0, clue.fell("hit_tokens_per_request")),
        (1.0, clue.share_of_change("prefill", "queue")),
        (1.0, SAME_PROMPTS),
        (1.0, clue.as_fast_alone),
    ),
    _cause(
        gettext_noop("KV cache too small"),
        gettext_noop("The KV cache is too small for the running requests"),
        gettext_noop("Restore its memory (gpu-memory-utilization, num-gpu-blocks), or lower max-num-seqs."),
        (4.0, clue.limit_changed("num_gpu_blocks", grown=False)),
        (2.0, clue.reaches("engine.kv_cache_usage_perc.max", none=0.6, full=0.9, otherwise=-0.3)),
        (1.5, clue.rose_by("engine.num_preemptions_total.per_s", none=0.02, full=0.3, otherwise=-0.3)),
        (0.5, clue.share_of_change("queue")),
        (1.0, SAME_LOAD),
    ),
    _cause(
        gettext_noop("batch limit raised"),
        gettext_noop("The batch limit is higher, so more requests share a decode step"),
        gettext_noop("Lower max-num-seqs until TPOT meets the SLO; 04_utilization finds the value."),
        (4.0, clue.limit_changed("max_num_seqs", grown=True)),
        (1.0, clue.grew("engine.num_requests_running.max", by=1.3, surely=2.0)),
        (1.0, clue.grew("tpot_s", by=1.15, surely=1.5)),
        (1.0, SAME_LOAD),
    ),
    _cause(
        gettext_noop("batch limit lowered"),
        gettext_noop("The batch limit is lower, so requests queue"),
        gettext_noop("Raise max-num-seqs as far as memory and the TPOT SLO allow; 04_utilization finds the value."),
        (4.0, clue.limit_changed("max_num_seqs", grown=False)),
        (1.0, GAVE_UP),
        (1.0, clue.fell("engine.num_requests_running.max", to=0.9, surely=0.6)),
        (1.0, clue.share_of_change("queue")),
        (1.0, SAME_LOAD),
    ),
    _cause(
        gettext_noop("processor taken by others"),
        gettext_noop("Other programs take CPU time that the server needs"),
        gettext_noop("Move them, or reserve cores for the server (cpuset, taskset, nice)."),
        (4.0, clue.rose_by("others_cores", none=0.15, full=0.7)),
        (1.5, clue.rose_by("server.waited_percent", none=15.0, full=60.0, otherwise=-0.5)),
        (1.0, clue.slower_alone),
        (3.0, clue.unchanged("memory_used_fraction", within=1.5)),
    ),
    _cause(
        gettext_noop("server has fewer cores"),
        gettext_noop("The server may use fewer CPU cores than before"),
        gettext_noop("Check its affinity and its container's limits (taskset, cpuset, cpu.max), and restore them."),
        (5.0, clue.fell("server.allowed_cores", to=0.95, surely=0.8)),
        (2.0, clue.rose_by("host.throttled_s.per_s", none=0.02, full=0.2, otherwise=0.0)),
        (1.0, clue.slower_alone),
    ),
    _cause(
        gettext_noop("memory pressure"),
        gettext_noop("The machine runs out of memory"),
        gettext_noop("Find the program that takes the memory, and stop or move it; leave room for the page cache."),
        (4.0, clue.rose_by("memory_used_fraction", none=0.15, full=0.4)),
        (1.5, clue.rose_by("host.memory_stalled_s.per_s", none=0.005, full=0.05, otherwise=-0.2)),
        (1.0, clue.rose_by("server.major_faults.per_s", none=1.0, full=50.0, otherwise=0.0)),
        (0.5, clue.slower_alone),
    ),
    _cause(
        gettext_noop("slow network"),
        gettext_noop("The network between client and server takes longer"),
        gettext_noop("Send requests from the server's machine to compare; check proxies, routes and TLS in between."),
        (3.0, clue.rose_beyond_scheduling("probe.health_s", none=0.004, full=0.02)),
        (2.5, clue.rose_beyond_scheduling("outside_ttft_s", none=0.006, full=0.03)),
        (1.0, clue.share_of_change("outside")),
    ),
    _cause(
        gettext_noop("packets lost"),
        gettext_noop("Packets are lost in the network, so single streams stall"),
        gettext_noop(
            "Check retransmissions and the links in between; send requests from the server's machine to compare."
        ),
        (4.0, clue.stalls(together=False)),
        (1.5, clue.rose_by("host.retransmitted_segments.per_s", none=0.3, full=2.0, otherwise=0.0)),
        (1.0, clue.rose_beyond_scheduling("outside_ttft_s", none=0.006, full=0.03, otherwise=0.0)),
        (1.5, clue.share_of_change("outside")),
        (1.0, SAME_PROMPTS),
    ),
    _cause(
        gettext_noop("slow tokenizer"),
        gettext_noop("Tokenization takes longer than before"),
        gettext_noop("Check that the fast tokenizer is in use, and that no other thread starves it."),
        (4.0, clue.rose_beyond_scheduling("tokenizing_s", none=0.003, full=0.012)),
        (2.0, clue.rose_beyond_scheduling("front_s", none=0.004, full=0.02)),
    ),
    _cause(
        gettext_noop("model or precision changed"),
        gettext_noop("The server runs another model or another precision"),
        gettext_noop("Compare checkpoint, quantization and engine version with the last release, as 10_rollout does."),
        (5.0, clue.answers_differ),
        (2.0, clue.server_card_differs),
    ),
    _cause(
        gettext_noop("server errors"),
        gettext_noop("The server, or a proxy in front of it, fails requests"),
        gettext_noop("Read its log for this status; check limits, health checks and the last deployment."),
        (6.0, failures_grew),
        (1.0, clue.rose_by("probe.failed_fraction", none=0.0, full=0.2, otherwise=-0.2)),
    ),
    _cause(
        gettext_noop("server pauses"),
        gettext_noop("The whole server pauses from time to time"),
        gettext_noop(
            "Look for garbage collection, snapshots, live migration, or a debugger; the server's log has gaps at these "
            "times."
        ),
        (2.5, clue.stalls(together=True)),
        (5.0, clue.rose_by("idle_under_load_fraction", none=0.03, full=0.12)),
        (2.0, clue.reaches("stall_s", none=0.3, full=0.5)),
        (2.0, clue.rose_by("longest_metrics_gap_s", none=0.25, full=0.6, otherwise=0.0)),
        (2.0, SAME_PROMPTS),
        (0.5, SAME_LOAD),
    ),
    _cause(
        gettext_noop("GPU shared"),
        gettext_noop("Another program runs on the same GPU"),
        gettext_noop("Give each program its own GPU or MIG slice."),
        (4.0, clue.more_gpu_processes),
        (2.0, clue.slower_alone),
        (1.5, clue.grew("gpu0.memory_used_bytes.max", by=1.004, surely=1.01, otherwise=-0.5)),
        (1.0, clue.grew("gpu_activity_per_token", by=1.3, surely=2.0)),
        needs="gpu0.utilisation_percent",
    ),
    _cause(
        gettext_noop("GPU clocks held down"),
        gettext_noop("The GPU clock is lower than before"),
        gettext_noop("Check its power limit, temperature and clock settings; 04_utilization shows the reasons."),
        (4.0, clue.fell("gpu0.sm_clock_mhz", to=0.93, surely=0.75)),
        (1.5, clue.fell("gpu0.power_limit_w", to=0.97, surely=0.8, otherwise=-0.2)),
        (2.0, clue.slower_alone),
        needs="gpu0.utilisation_percent",
    ),
)
