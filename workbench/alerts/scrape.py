"""Samples from a server's page of metrics; a page that cannot be read marks all its series as stale, as in Prometheus."""

import math
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from workbench.alerts.series import Labels, SeriesStore, labels_of
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

MOST_BYTES = 16_000_000


class Scraper:
    """Reads the page of metrics of one server.

    Args:
        url: Base URL, or that of the page.
        timeout_s: Longest wait for an answer.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidSpec(
                gettext("{url} is not a URL.").format(url=repr(url)),
                remedy=gettext("Give one like http://localhost:8000."),
            )
        base = url.rstrip("/").removesuffix("/v1")
        self.url = base if base.endswith("/metrics") else f"{base}/metrics"
        self._timeout_s = timeout_s
        self._seen: set[tuple[str, Labels]] = set()

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the metrics that the page had when it was last read."""
        return frozenset(name for name, _ in self._seen)

    def page(self) -> str:
        """Return the text of the page; raises ``OSError`` or ``ValueError`` when there is none."""
        with urllib.request.urlopen(self.url, timeout=self._timeout_s) as response:  # noqa: S310 - checked above
            body: bytes = response.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        return body.decode("utf-8")

    def scrape(self, store: SeriesStore, at_s: float) -> str | None:
        """Add the present samples, and ``up``; return the problem, if there was one.

        A series that was there before and no longer is becomes stale.
        """
        samples: dict[tuple[str, Labels], float] = {}
        problem = None
        try:
            for family in text_string_to_metric_families(self.page()):
                for sample in family.samples:
                    samples[sample.name, labels_of(sample.labels)] = float(sample.value)
        except (OSError, urllib.error.URLError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
            samples, problem = {}, f"{self.url} cannot be read: {type(error).__name__} {error}"
        for metric, labels in self._seen - set(samples):
            store.add(metric, dict(labels), at_s, math.nan)
        for (metric, labels), value in samples.items():
            store.add(metric, dict(labels), at_s, value)
        store.add("up", {}, at_s, 0.0 if problem else 1.0)
        self._seen = set(samples)
        return problem
