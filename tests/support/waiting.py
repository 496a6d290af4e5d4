"""Waiting for what happens in another thread or process, and what a live panel shows."""

import time
from collections.abc import Callable
from typing import Any

POLL_S = 0.05


def wait_for(condition: Callable[[], Any], timeout_s: float = 120.0) -> None:
    """Return as soon as a condition holds; an ``AssertionError`` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(POLL_S)


def figure_titles(panel: Any) -> list[str]:
    """Titles of the plots that a panel shows."""
    bundles = [p.outputs[0]["data"]["application/vnd.plotly.v1+json"] for p in panel.plots if p.outputs]
    return [b["layout"]["title"]["text"] for b in bundles]
