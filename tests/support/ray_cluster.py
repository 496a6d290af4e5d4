"""A real Ray cluster of processes of this machine, whose nodes can be killed."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from support.waiting import wait_for
from workbench.engines.server import free_port

ATTEMPTS = 4
"""How often a node is started: on a busy machine Ray gives one up after half a minute."""
PATIENCE = {"RAY_gcs_server_port_wait_time_s": "120", "RAY_gcs_server_request_timeout_seconds": "120"}


class Cluster:
    """A Ray head without cores, and nodes of one core each, all of them processes of this machine."""

    def __init__(self, folder):
        self.folder, self.address, self.running = folder, None, []
        self._start(self._head_options)

    def _head_options(self, attempt):
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.split(":")[1]
        # Ray's sockets need a short path.
        return (
            "--head",
            f"--port={port}",
            "--num-cpus=0",
            "--include-dashboard=false",
            f"--temp-dir={self.folder / str(attempt)}",
        )

    def _start(self, options):
        """Start a node with the options of an attempt; the test is skipped where Ray never starts, which is not what it is about."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--object-store-memory=100000000", "--node-ip-address=127.0.0.1"]
        for attempt in range(ATTEMPTS):
            log = self.folder / f"node-{time.monotonic_ns()}.log"
            with log.open("wb") as out:
                node = subprocess.Popen(
                    [*command, *options(attempt)],
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    env=os.environ | PATIENCE,
                )
            with contextlib.suppress(AssertionError):
                wait_for(lambda log=log, node=node: "block forever" in log.read_text() or node.poll() is not None)
                if node.poll() is None:
                    self.running.append(node)
                    return node
            self.kill(node)
        self.end()
        pytest.skip(f"Ray does not start here: {log.read_text().strip().splitlines()[-1:]}")

    def add_node(self):
        return self._start(lambda _: (f"--address={self.address}", "--num-cpus=1"))

    def end(self):
        for node in self.running:
            self.kill(node)

    def running_task(self, name):
        """Return the node that runs a task of a function; None where none does."""
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if f"ray::{name}" in " ".join(process.cmdline()):
                    session = os.getsid(process.pid)
                    return next((node for node in self.running if node.pid == session), None)
        return None

    @staticmethod
    def kill(node):
        """Kill a node and whatever it started, which stays in its session even where the node itself has ended."""
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if os.getsid(process.pid) == node.pid:
                    process.kill()
        node.wait()


@contextlib.contextmanager
def cluster_of_two():
    """A head without cores and two nodes of one core each."""
    folder = Path("/tmp") / f"wb-ray-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        made = Cluster(folder)
        made.add_node(), made.add_node()
        yield made
        made.end()
    finally:
        shutil.rmtree(folder)
