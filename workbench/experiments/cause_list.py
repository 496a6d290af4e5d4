"""The causes that are weighed, in the words that a reader sees."""

from workbench.experiments.causes import (
    Cause,
    added,
    answers_differ,
    as_fast_alone,
    described_differently,
    failures_grew,
    less,
    limit_changed,
    more,
    more_gpu_processes,
    more_requests,
    reaches,
    same,
    share_of_change,
    slower_alone,
    stalls_alone,
    stalls_together,
)

SAME_LOAD = same("offered_per_s", "requests per second")
SAME_PROMPTS = same("input_tokens", "prompt tokens")
SAME_ANSWERS = same("output_tokens", "answer tokens")

CAUSES: tuple[Cause, ...] = (
    Cause(
        key="surge",
        title="More requests come than before",
        remedy="Add replicas, or shed load at the gateway; 06_surge and 03_parallelism size both.",
        clues=((4.0, more_requests), (1.0, share_of_change("queue", "decode")), (1.0, as_fast_alone)),
    ),
    Cause(
        key="longer prompts",
        title="Prompts are longer than before",
        remedy="Find who sends them; limit the length, cache shared beginnings, or plan for the new mix.",
        clues=(
            (4.0, more("input_tokens", "prompt tokens")),
            (1.0, share_of_change("prefill", "queue")),
            (0.5, as_fast_alone),
        ),
    ),
    Cause(
        key="longer answers",
        title="Answers are longer than before",
        remedy="Check max_tokens and the prompt that asks for them; plan for the new mix.",
        clues=(
            (4.0, more("output_tokens", "answer tokens")),
            (1.0, share_of_change("decode", "queue")),
            (0.5, as_fast_alone),
        ),
    ),
    Cause(
        key="prefix cache missed",
        title="Prompts no longer begin alike, so the prefix cache misses",
        remedy="Look for a template that now puts a date, a name or an id first; put what changes last.",
        clues=(
            (4.0, less("hit_tokens_per_request", "tokens from the prefix cache, per request")),
            (1.0, share_of_change("prefill", "queue")),
            (1.0, SAME_PROMPTS),
            (1.0, as_fast_alone),
        ),
    ),
    Cause(
        key="KV cache too small",
        title="The KV cache is too small for the requests that run",
        remedy="Give it back the memory it had (gpu-memory-utilization, num-gpu-blocks), or let fewer requests run.",
        clues=(
            (4.0, limit_changed("num_gpu_blocks", "announced KV blocks", grown=False)),
            (
                2.0,
                reaches(
                    "engine.kv_cache_usage_perc.max",
                    "highest share of the KV cache in use",
                    none=0.6,
                    full=0.9,
                    otherwise=-0.3,
                ),
            ),
            (
                1.5,
                added(
                    "engine.num_preemptions_total.per_s", "preemptions per second", none=0.02, full=0.3, otherwise=-0.3
                ),
            ),
            (0.5, share_of_change("queue")),
            (1.0, SAME_LOAD),
        ),
    ),
    Cause(
        key="batch limit raised",
        title="More requests share a step than before",
        remedy="Lower max-num-seqs until the time per token is within its promise; 04_utilization finds the value.",
        clues=(
            (4.0, limit_changed("max_num_seqs", "announced most requests of a step", grown=True)),
            (1.0, more("engine.num_requests_running.max", "most requests running", by=1.3, surely=2.0)),
            (1.0, more("tpot_s", "seconds per token", by=1.15, surely=1.5)),
            (1.0, SAME_LOAD),
        ),
    ),
    Cause(
        key="batch limit lowered",
        title="Fewer requests may run at once, so they queue",
        remedy="Raise max-num-seqs to what memory and the time per token allow; 04_utilization finds the value.",
        clues=(
            (4.0, limit_changed("max_num_seqs", "announced most requests of a step", grown=False)),
            (1.0, less("engine.num_requests_running.max", "most requests running", to=0.9, surely=0.6)),
            (1.0, share_of_change("queue")),
            (1.0, SAME_LOAD),
        ),
    ),
    Cause(
        key="processor taken by others",
        title="Other programs take the processor that the server needs",
        remedy="Move them, or give the server cores of its own (cpuset, taskset, nice).",
        clues=(
            (4.0, added("others_cores", "cores used by other programs", none=0.15, full=0.7)),
            (
                1.5,
                added(
                    "server.waited_percent",
                    "server's threads ready without a core, % of one",
                    none=15.0,
                    full=60.0,
                    otherwise=-0.5,
                ),
            ),
            (1.0, slower_alone),
            (3.0, same("memory_used_fraction", "share of the memory in use", within=1.5)),
        ),
    ),
    Cause(
        key="server has fewer cores",
        title="The server may use fewer processor cores than before",
        remedy="Look at its affinity and its container's limits (taskset, cpuset, cpu.max), and give them back.",
        clues=(
            (5.0, less("server.allowed_cores", "cores that the server may use", to=0.95, surely=0.8)),
            (
                2.0,
                added(
                    "host.throttled_s.per_s",
                    "seconds per second stopped by the container's limit",
                    none=0.02,
                    full=0.2,
                    otherwise=0.0,
                ),
            ),
            (1.0, slower_alone),
        ),
    ),
    Cause(
        key="memory pressure",
        title="The machine runs out of memory",
        remedy="Find what took it, and stop or move it; leave room for the page cache.",
        clues=(
            (4.0, added("memory_used_fraction", "share of the memory in use", none=0.15, full=0.4)),
            (
                1.5,
                added(
                    "host.memory_stalled_s.per_s",
                    "seconds per second waiting for memory",
                    none=0.005,
                    full=0.05,
                    otherwise=-0.2,
                ),
            ),
            (
                1.0,
                added(
                    "server.major_faults.per_s",
                    "server's pages read from disk, per second",
                    none=1.0,
                    full=50.0,
                    otherwise=0.0,
                ),
            ),
            (0.5, slower_alone),
        ),
    ),
    Cause(
        key="slow network",
        title="The way between client and server takes longer",
        remedy="Ask the server on its own machine; look at proxies, routes and TLS in between.",
        clues=(
            (3.0, added("probe.health_s", "round trip of /health, s", none=0.004, full=0.02)),
            (2.5, added("outside_ttft_s", "wait for the first token outside the server, s", none=0.006, full=0.03)),
            (1.0, share_of_change("outside")),
        ),
    ),
    Cause(
        key="packets lost",
        title="Packets are lost on the way, so single streams stall",
        remedy="Look at retransmissions and at the links in between; ask the server on its own machine.",
        clues=(
            (4.0, stalls_alone),
            (
                1.5,
                added(
                    "host.retransmitted_segments.per_s",
                    "TCP segments sent again, per second",
                    none=0.3,
                    full=2.0,
                    otherwise=0.0,
                ),
            ),
            (
                1.0,
                added(
                    "outside_ttft_s",
                    "wait for the first token outside the server, s",
                    none=0.006,
                    full=0.03,
                    otherwise=0.0,
                ),
            ),
            (1.5, share_of_change("outside")),
            (1.0, SAME_PROMPTS),
        ),
    ),
    Cause(
        key="slow tokenizer",
        title="Turning text into tokens takes longer",
        remedy="Check that the fast tokenizer is in use, and that it is not starved by another thread.",
        clues=(
            (4.0, added("tokenizing_s", "seconds to tokenize the probe's text", none=0.003, full=0.012)),
            (2.0, added("front_s", "wait in the server before its queue, s", none=0.004, full=0.02)),
        ),
    ),
    Cause(
        key="model or precision changed",
        title="Another model, or another precision, answers",
        remedy="Compare checkpoint, quantization and engine version with the last release; 10_rollout does so before traffic.",
        clues=((5.0, answers_differ), (2.0, described_differently)),
    ),
    Cause(
        key="server errors",
        title="The server, or what stands before it, fails requests",
        remedy="Read its log for the status above; look at limits, health checks and the last deployment.",
        clues=(
            (6.0, failures_grew),
            (1.0, added("probe.failed_fraction", "failed questions of the probe", none=0.0, full=0.2, otherwise=-0.2)),
        ),
    ),
    Cause(
        key="server pauses",
        title="The whole server stops now and then",
        remedy="Look for garbage collection, snapshots, live migration, or a debugger; its log is silent meanwhile.",
        clues=(
            (2.5, stalls_together),
            (
                5.0,
                added(
                    "idle_under_load_fraction",
                    "share of the time with requests in which the server did nothing",
                    none=0.03,
                    full=0.12,
                ),
            ),
            (2.0, reaches("stall_s", "a middle stall lasts, s", none=0.3, full=0.5)),
            (
                2.0,
                added(
                    "longest_silence_of_counters_s",
                    "longest silence of /metrics, s",
                    none=0.25,
                    full=0.6,
                    otherwise=0.0,
                ),
            ),
            (2.0, SAME_PROMPTS),
            (0.5, SAME_LOAD),
        ),
    ),
    Cause(
        key="GPU shared",
        needs="gpu0.utilisation_percent",
        title="Another program works on the same GPU",
        remedy="Give each a GPU or a MIG slice of its own.",
        clues=(
            (4.0, more_gpu_processes),
            (2.0, slower_alone),
            (
                1.5,
                more("gpu0.memory_used_bytes.max", "GPU memory in use, bytes", by=1.004, surely=1.01, otherwise=-0.5),
            ),
            (1.0, more("gpu_activity_per_token", "GPU activity per token", by=1.3, surely=2.0)),
        ),
    ),
    Cause(
        key="GPU clocks held down",
        needs="gpu0.utilisation_percent",
        title="The GPU runs at a lower clock",
        remedy="Look at its power limit, temperature and clock settings; 04_utilization shows the reasons.",
        clues=(
            (4.0, less("gpu0.sm_clock_mhz", "clock of the GPU, MHz", to=0.93, surely=0.75)),
            (1.5, less("gpu0.power_limit_w", "power limit, W", to=0.97, surely=0.8, otherwise=-0.2)),
            (2.0, slower_alone),
        ),
    ),
)
