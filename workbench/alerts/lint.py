"""The metrics that PromQL reads, and those that a server lacks: a renamed metric leaves a panel empty without an error."""

import re
from collections.abc import Collection, Iterator

STRINGS = re.compile(r'"(?:\\.|[^"\\])*"|' + r"'(?:\\.|[^'\\])*'|`[^`]*`")
INSIDE = re.compile(r"\{[^}]*\}|\[[^\]]*\]")
GROUPED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
NAME = re.compile(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
WORDS = set("and or unless by without on ignoring bool offset group_left group_right inf nan e".split())  # noqa: SIM905
SYNTHETIC = {"ALERTS", "ALERTS_FOR_STATE", "up", "scrape_duration_seconds"}
"""Series that Prometheus itself adds."""
ENDS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
"""Suffixes of the names of a family's samples, by its type."""


def metric_names(promql: str) -> set[str]:
    """Return the names of the metrics that an expression reads, without functions, labels, durations and variables."""
    text = STRINGS.sub('""', promql)
    text = GROUPED.sub(" ", INSIDE.sub(" ", text))
    return {name for name in NAME.findall(text) if name.lower() not in WORDS} - SYNTHETIC


def expressions_in(node: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield the expressions of a dashboard or a rule file (parsed JSON or YAML), each with the title of its panel or the name of its rule."""
    if isinstance(node, dict):
        where = next((str(node[k]) for k in ("alert", "record", "title") if isinstance(node.get(k), str)), where)
        if isinstance(node.get("expr"), str):
            yield where, node["expr"]
        for value in node.values():
            yield from expressions_in(value, where)
    elif isinstance(node, list):
        for value in node:
            yield from expressions_in(value, where)


def recorded_in(document: object) -> set[str]:
    """Return the names that a rule file records, which other rules may read."""
    if isinstance(document, dict):
        own = {document["record"]} if isinstance(document.get("record"), str) else set()
        return own.union(*(recorded_in(v) for v in document.values()))
    if isinstance(document, list):
        return set[str]().union(*(recorded_in(v) for v in document))
    return set()


def missing_in(document: object, names: Collection[str]) -> dict[str, list[str]]:
    """Return the metrics that a dashboard or a rule file reads and a server lacks, by panel or rule.

    Args:
        document: The parsed JSON or YAML.
        names: Names of all samples on the server's page.
    """
    known = set(names) | recorded_in(document)
    missing: dict[str, set[str]] = {}
    for where, promql in expressions_in(document):
        lacking = metric_names(promql) - known
        if lacking:
            missing.setdefault(where, set()).update(lacking)
    return {where: sorted(lacking) for where, lacking in missing.items()}


def sample_names(page: str) -> set[str]:
    """Return the names of all samples on a page of metrics, and of declared families that have no sample yet."""
    names = set()
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            parts = line.split()
            if len(parts) >= 4:
                names |= {parts[2] + end for end in ENDS.get(parts[3], ("",))}
        elif line and not line.startswith("#"):
            names.add(re.split(r"[{\s]", line, maxsplit=1)[0])
    return names
