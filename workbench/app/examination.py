"""What this machine has, with the engines that live in environments of their own."""

import os
from dataclasses import replace
from pathlib import Path

from workbench.core.errors import NotAvailable
from workbench.core.language import VARIABLE, gettext, offered, spoken
from workbench.engines import environments
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.doctor import Finding, examine

OWN_ENVIRONMENT = {"vLLM": ("vllm", "cuda"), "vLLM for CPU": ("vllm", "cpu"), "LMDeploy": ("lmdeploy", "cuda")}
MARKS = {"ok": "✓", "missing": "–", "problem": "✗"}
"""Sign of each state of a finding."""


def examine_all(home: Path) -> list[Finding]:
    """Return findings on hardware, engines, packages and disk; ``home`` is where runs are kept."""
    here = chosen_device("auto").kind
    found = [_engine(f, here) if f.topic in OWN_ENVIRONMENT else f for f in examine(home)]
    return [*found, _language()]


def _language() -> Finding:
    asked, known = os.environ.get(VARIABLE, ""), ", ".join(offered())
    if (chosen := spoken(asked)) is None:
        value = gettext("there are no texts in {asked}: English is shown").format(asked=asked)
        remedy = gettext("Set {variable} to one of {known}.").format(variable=VARIABLE, known=known)
        return Finding(topic="language", state="problem", value=value, remedy=remedy)
    value = gettext("{chosen}; {variable} chooses among {known}").format(chosen=chosen, variable=VARIABLE, known=known)
    return Finding(topic="language", state="ok", value=value)


def _engine(finding: Finding, here: str) -> Finding:
    engine, device = OWN_ENVIRONMENT[finding.topic]
    if finding.state == "ok":
        return finding
    if device != here:
        return replace(finding, remedy=gettext("Not needed: this machine computes on {device}.").format(device=here))
    try:
        environment = environments.find(engine, device=device)
    except NotAvailable as error:
        return replace(finding, state="problem", value=error.cause, remedy=error.remedy)
    if environment is None:
        return finding
    return replace(
        finding,
        state="ok",
        value=gettext("{version}, in an environment of its own").format(version=environment.version),
        remedy="",
    )
