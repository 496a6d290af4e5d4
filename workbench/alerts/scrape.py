"""A server's page of metrics as samples; a page that cannot be had marks all its series as gone, as Prometheus does."""

import math
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from workbench.alerts.series import Labels, SeriesStore, labels_of
from workbench.core.errors import InvalidSpec

MOST_BYTES = 16_000_000


class Scraper:
    """One server.

    Args:
        url: Base URL, or that of the page.
        timeout_s: For an answer.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidSpec(f"{url!r} is not a URL.", remedy="Give one like http://localhost:8000.")
        base = url.rstrip("/").removesuffix("/v1")
        self.url = base if base.endswith("/metrics") else f"{base}/metrics"
        self._timeout_s = timeout_s
        self._seen: set[tuple[str, Labels]] = set()

    def page(self) -> str:
        """The text of the page; raises ``OSError`` or ``ValueError`` when there is none."""
        with urllib.request.urlopen(self.url, timeout=self._timeout_s) as response:  # noqa: S310 - checked above
            body: bytes = response.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        return body.decode("utf-8")

    def scrape(self, store: SeriesStore, at_s: float) -> str | None:
        """Add the samples of now, and ``up``; returns what went wrong, if anything did.

        A series that was there before and is not any more is marked as gone.
        """
        found: dict[tuple[str, Labels], float] = {}
        problem = None
        try:
            for family in text_string_to_metric_families(self.page()):
                for sample in family.samples:
                    found[sample.name, labels_of(sample.labels)] = float(sample.value)
            if not found:
                problem = f"{self.url} shows no metrics"
        except (OSError, urllib.error.URLError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
            found, problem = {}, f"{self.url} cannot be read: {type(error).__name__} {error}"
        for metric, labels in self._seen - set(found):
            store.add(metric, dict(labels), at_s, math.nan)
        for (metric, labels), value in found.items():
            store.add(metric, dict(labels), at_s, value)
        store.add("up", {}, at_s, 0.0 if problem else 1.0)
        self._seen = set(found)
        return problem
