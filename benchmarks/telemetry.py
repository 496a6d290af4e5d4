"""What sampling costs, how fast the panel redraws, and how long a week of samples takes to open.

    python benchmarks/telemetry.py [--seconds S]

Sampler: processor time of its thread over wall time, at 10 samples a second, of the host and of GPUs where there are any,
and the time of each NVML answer. Panel: a redraw from a minute of samples at 10 Hz. History: seven days at 1 Hz of 8 GPUs with ten
signals each, written, then opened anew and all 80 signals read for a plot of the whole week, and of its last hour.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from workbench.telemetry.gpu_source import GpuSource
from workbench.telemetry.history import History
from workbench.telemetry.host_source import HostSource
from workbench.telemetry.sampler import Sampler, SourceLost
from workbench.telemetry.samples import Signal

DAYS, GPUS, QUANTITIES = 7, 8, 10


def sampler_share(sources, seconds):
    """Of one core; the first half second (opening) is left out."""
    with Sampler(sources, rate_hz=10) as sampler:
        time.sleep(0.5)
        before = sampler.cpu_s
        time.sleep(seconds)
        return (sampler.cpu_s - before) / seconds, sampler.n_late


def nvml_answers():
    """Milliseconds of processor time of each quantity, median of 50; nothing without a GPU."""
    source = GpuSource()
    try:
        source.open()
    except SourceLost as lost:
        print(f"no GPU: {lost}")
        return
    for name, read in source.answers().items():
        took = []
        for _ in range(50):
            began = time.thread_time()
            read()
            took.append(time.thread_time() - began)
            time.sleep(0.02)
        print(f"  {name}: {1e3 * np.median(took):.3f} ms")
    source.close()


def redraw():
    """Seconds of a redraw of the panel, median of 7."""
    from workbench.questions.utilization.panel import UtilizationPanel

    panel = UtilizationPanel()
    took = []
    for _ in range(7):
        began = time.perf_counter()
        panel.draw()
        took.append(time.perf_counter() - began)
    return float(np.median(took))


def week(folder):
    """Seconds to write, and to open and read everything."""
    signals = [Signal(name=f"gpu{g}.q{q}", unit="", label="") for g in range(GPUS) for q in range(QUANTITIES)]
    history = History(folder, signals)
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    for day in range(DAYS):
        at = day * 86400.0 + np.arange(86400.0)
        history.append_many(at, rng.random((at.size, len(signals)), dtype=np.float32))
    written = time.perf_counter() - began
    began = time.perf_counter()
    again = History(folder)
    start, end = again.ends_s
    whole = [again.read(s.name, start, end) for s in again.signals]
    opened = time.perf_counter() - began
    began = time.perf_counter()
    hour = [again.read(s.name, end - 3600, end, most_parts=4000) for s in again.signals]
    zoomed = time.perf_counter() - began
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(
        f"a week at 1 Hz, {GPUS} GPUs, {len(signals)} signals, {size / 1e9:.2f} GB: written in {written:.1f} s; opened and drawn "
        f"({whole[0].at_s.size} parts each) in {opened:.3f} s; its last hour ({hour[0].at_s.size} samples each) in {zoomed:.3f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    share, late = sampler_share([HostSource([os.getpid()])], seconds)
    print(f"host at 10 Hz: {100 * share:.2f} % of a core, {late} readings late")
    share, late = sampler_share([HostSource([os.getpid()]), GpuSource()], seconds)
    print(f"host and GPUs at 10 Hz: {100 * share:.2f} % of a core, {late} readings late")
    nvml_answers()
    print(f"redraw of 04_utilization: {1e3 * redraw():.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        week(Path(folder) / "history")


if __name__ == "__main__":
    main()
