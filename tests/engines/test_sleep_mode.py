"""Sleep mode of a server: both levels, a server that only says that it did it, and one that is not there."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.waiting import wait_for

from workbench.engines.server import free_port, healthy
from workbench.engines.sleep_mode import SleepFailed, fall_asleep, is_asleep, wake_up

SERVER = Path(__file__).parents[1] / "support" / "sleepy_server.py"


@contextmanager
def served(fault=""):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, str(SERVER), str(port), fault]) as process:
        try:
            wait_for(lambda: healthy(url))
            yield url
        finally:
            process.kill()


def test_a_server_sleeps_and_wakes_at_both_levels():
    with served() as url:
        for level in (1, 2):
            fall_asleep(url, level=level)
            assert is_asleep(url)
            wake_up(url, level=level)
            assert not is_asleep(url)


def test_a_server_that_stays_awake_is_named():
    with served("awake") as url, pytest.raises(SleepFailed, match="is awake"):
        fall_asleep(url, level=1)


def test_a_server_that_sleeps_on_is_named():
    with served("sleeps on") as url:
        fall_asleep(url, level=2)
        with pytest.raises(SleepFailed, match="still sleeps"):
            wake_up(url, level=2)


def test_a_server_without_the_endpoints_or_none_at_all_has_a_remedy():
    with served("no endpoints") as url, pytest.raises(SleepFailed, match="no endpoint /sleep") as refused:
        fall_asleep(url, level=1)
    assert "VLLM_SERVER_DEV_MODE=1" in refused.value.remedy
    with pytest.raises(SleepFailed, match="does not answer /wake_up: Connection refused"):
        wake_up(f"http://127.0.0.1:{free_port()}", level=1)
