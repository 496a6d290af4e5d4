"""Which metrics PromQL reads, and which of them a server does not have: dashboards and rule files age silently."""

import re
from collections.abc import Collection, Iterator
from typing import Any

STRINGS = re.compile(r'"(?:\\.|[^"\\])*"|' + r"'(?:\\.|[^'\\])*'|`[^`]*`")
INSIDE = re.compile(r"\{[^}]*\}|\[[^\]]*\]")
GROUPED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
NAME = re.compile(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
WORDS = {
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "bool",
    "offset",
    "group_left",
    "group_right",
    "inf",
    "nan",
}
SYNTHETIC = {"ALERTS", "ALERTS_FOR_STATE", "up", "scrape_duration_seconds"}
"""Series that Prometheus makes by itself."""


def metric_names(promql: str) -> set[str]:
    """Names of the metrics that an expression reads; functions, labels, durations and variables are none."""
    text = STRINGS.sub('""', promql)
    text = GROUPED.sub(" ", INSIDE.sub(" ", text))
    found = {name for name in NAME.findall(text) if name.lower() not in WORDS and not name.isdigit()}
    return {name for name in found if not re.fullmatch(r"[eE]|\d.*", name)} - SYNTHETIC


def expressions_in(document: Any) -> Iterator[tuple[str, str]]:
    """Expressions of a dashboard or a rule file, each with the title or the name of what it belongs to.

    Args:
        document: The parsed JSON or YAML.
    """
    yield from _expressions(document, "")


def _expressions(node: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        where = next((str(node[k]) for k in ("alert", "record", "title") if isinstance(node.get(k), str)), where)
        if isinstance(node.get("expr"), str):
            yield where, node["expr"]
        for value in node.values():
            yield from _expressions(value, where)
    elif isinstance(node, list):
        for value in node:
            yield from _expressions(value, where)


def recorded_in(document: Any) -> set[str]:
    """Names that a rule file records, which other rules may read."""
    if isinstance(document, dict):
        own = {document["record"]} if isinstance(document.get("record"), str) else set()
        return own.union(*(recorded_in(v) for v in document.values()))
    if isinstance(document, list):
        return set[str]().union(*(recorded_in(v) for v in document))
    return set()


def missing_in(document: Any, names: Collection[str]) -> dict[str, list[str]]:
    """Metrics that a dashboard or a rule file reads and a server does not have, by panel or rule.

    Args:
        document: The parsed JSON or YAML.
        names: Of all samples on the server's page.
    """
    known = set(names) | recorded_in(document)
    found: dict[str, set[str]] = {}
    for where, promql in expressions_in(document):
        lacking = metric_names(promql) - known
        if lacking:
            found.setdefault(where, set()).update(lacking)
    return {where: sorted(lacking) for where, lacking in found.items()}


def sample_names(page: str) -> set[str]:
    """Names of all samples on a page of metrics, and those of declared families that have no sample yet."""
    names = set()
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            parts = line.split()
            if len(parts) >= 4:
                names |= _family(parts[2], parts[3])
        elif line and not line.startswith("#"):
            names.add(re.split(r"[{\s]", line, maxsplit=1)[0])
    return names


def _family(name: str, kind: str) -> set[str]:
    if kind == "histogram":
        return {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    if kind == "summary":
        return {name, f"{name}_sum", f"{name}_count"}
    return {name}
