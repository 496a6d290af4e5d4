"""The metrics that PromQL reads, and those that a server lacks: a renamed metric leaves a panel empty without an error."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<template>\{\{.*?\}\}|\[\[.*?\]\]|\$\{[^}]*\}|\$\w+)
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    |(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+|[a-zA-Z][\da-zA-Z]*)?)
    |(?P<name>[a-zA-Z_:][\w:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|\S)""",
    re.VERBOSE | re.DOTALL,
)
GROUPING = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
AGGREGATIONS = "sum avg min max count group stddev stdvar topk bottomk quantile count_values limitk limit_ratio"
WORDS = GROUPING.union("and or unless bool offset inf nan atan2".split(), AGGREGATIONS.split())  # noqa: SIM905
"""Words of PromQL, which it reads in any case."""
SYNTHETIC = {"ALERTS", "ALERTS_FOR_STATE", "up", "scrape_duration_seconds", "scrape_samples_scraped"}
"""Series that Prometheus itself adds."""
ENDS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
"""Suffixes of the names of a family's samples, by its type."""
ALTERNATIVES = re.compile(r"[\w:]+(?:\|[\w:]+)*")
CLOSING = {"{": "}", "[": "]", "(": ")"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Metrics that an expression reads, by name or by a pattern of names."""

    names: set[str] = field(default_factory=set)
    """Names of the metrics."""
    patterns: set[str] = field(default_factory=set)
    """Regular expressions of ``__name__``, of which one metric must match."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    begin: int
    end: int


def read_by(promql: str) -> Read:
    """Return what an expression reads, without functions, labels, durations, comments, and names that hold variables."""
    read = Read()
    tokens = [
        _Token(str(m.lastgroup), m.group(), *m.span()) for m in TOKEN.finditer(promql) if m.lastgroup != "comment"
    ]
    at = 0
    while at < len(tokens):
        token, after = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else None
        at += 1
        if token.text in {"{", "["}:
            end = _closing(tokens, at, CLOSING[token.text])
            if token.text == "{":
                _read_selector(tokens[at:end], read)
            at = end + 1
        elif token.kind == "name":
            word = token.text.lower()
            if word in GROUPING and after is not None and after.text == "(":
                at = _closing(tokens, at + 1, ")") + 1
            elif word not in WORDS and not (after is not None and after.text == "(") and not _is_part(tokens, at - 1):
                read.names.add(token.text)
    return Read(names=read.names - SYNTHETIC, patterns=read.patterns)


def _closing(tokens: Sequence[_Token], at: int, text: str) -> int:
    return next((i for i in range(at, len(tokens)) if tokens[i].text == text), len(tokens))


def _is_part(tokens: Sequence[_Token], at: int) -> bool:
    """Return whether a name touches a variable, and so is only a part of a name."""
    touching = (
        tokens[at - 1] if at and tokens[at - 1].end == tokens[at].begin else None,
        tokens[at + 1] if at + 1 < len(tokens) and tokens[at + 1].begin == tokens[at].end else None,
    )
    return any(t is not None and t.kind == "template" for t in touching)


def _read_selector(inside: Sequence[_Token], read: Read) -> None:
    """Add the names that the matchers between braces select: ``__name__``, or a name in quotes as Prometheus 3 writes it."""
    for at, token in enumerate(inside):
        before = inside[at - 1].text if at else ","
        if token.kind != "string" or "$" in token.text:
            continue
        text = token.text[1:-1] if token.text[0] == "`" else token.text[1:-1].replace("\\\\", "\\")
        ends = at + 1 == len(inside) or inside[at + 1].text == ","
        if before == "," and ends:
            read.names.add(text)
        elif at >= 2 and inside[at - 2].text.strip("\"'`") == "__name__":
            if before == "=" or (before == "=~" and ALTERNATIVES.fullmatch(text)):
                read.names.update(text.split("|") if before == "=~" else [text])
            elif before == "=~":
                read.patterns.add(text)


def metric_names(promql: str) -> set[str]:
    """Return the names of the metrics that an expression reads."""
    return read_by(promql).names


def expressions_in(node: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield the expressions of a dashboard or a rule file (parsed JSON or YAML), each with the title of its panel or the name of its rule.

    Files inside of a Kubernetes object, such as a ConfigMap's, are read too.
    """
    if isinstance(node, dict):
        where = next((str(node[k]) for k in ("alert", "record", "title") if isinstance(node.get(k), str)), where)
        if isinstance(node.get("expr"), str):
            yield where, node["expr"]
        for value in (_file_in(k, v) for k, v in node.items()):
            yield from expressions_in(value, where)
    elif isinstance(node, list):
        for value in node:
            yield from expressions_in(value, where)


def _file_in(key: object, value: object) -> object:
    """Return the content of a value that holds a whole file as text, parsed; any other value as it is."""
    if isinstance(value, str) and (str(key) == "json" or str(key).endswith((".json", ".yaml", ".yml", ".rules"))):
        try:
            return documents_in(value)
        except ValueError:
            return value
    return value


def documents_in(text: str) -> list[object]:
    """Return the documents of a text in JSON or YAML; raises ``ValueError`` for anything else."""
    import yaml

    try:
        return [json.loads(text)]
    except ValueError:
        pass
    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def recorded_in(document: object) -> set[str]:
    """Return the names that a rule file records, which other rules may read."""
    if isinstance(document, dict):
        own = {document["record"]} if isinstance(document.get("record"), str) else set()
        return own.union(*(recorded_in(_file_in(k, v)) for k, v in document.items()))
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
        read = read_by(promql)
        lacking = read.names - known
        lacking |= {f'{{__name__=~"{p}"}}' for p in read.patterns if not _any_matches(p, known)}
        if lacking:
            missing.setdefault(where, set()).update(lacking)
    return {where: sorted(lacking) for where, lacking in missing.items()}


def _any_matches(pattern: str, names: Collection[str]) -> bool:
    """Return whether any name matches a pattern; one that Python cannot read counts as matched."""
    try:
        return any(re.fullmatch(pattern, name) for name in names)
    except re.error:
        return True


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
