"""A watch over a server: its SLO, its rules and its duration."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from workbench.alerts.defaults import TTFT_BOUNDS
from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import Knob, knob, needed
from workbench.core.language import gettext
from workbench.core.specs import Spec
from workbench.telemetry.metrics_source import PREFIXES

LONGEST_S = 7 * 86400.0
AUTO = "auto"

TtftBound = Annotated[
    str,
    Knob(
        "SLO: TTFT",
        "Largest time to first token (TTFT) that meets the SLO, in seconds; one of the bounds of vLLM's histogram.",
        unit="s",
        choices={bound: bound for bound in TTFT_BOUNDS},
    ),
]
Objective = Annotated[
    float,
    Knob("SLO attainment", "Share of the requests that must meet the SLO, from 0.5 to 0.9999.", low=0.5, high=0.9999),
]
Patience = Annotated[
    float,
    Knob(
        "Condition duration",
        "Seconds that a condition must last before its alert fires; burn-rate rules fire without this delay.",
        unit="s",
        low=0,
        high=86400,
        option="patience",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesSpec(Spec):
    """The rules of a watch as a file for Prometheus or Grafana; the same SLO gives the same rules."""

    command: ClassVar[str] = "rules"

    target: Literal["prometheus", "grafana"] = knob(
        "prometheus",
        "Format",
        "Format of the output: a rule file for Prometheus, or a dashboard for Grafana.",
        option="for",
    )
    ttft: TtftBound = "0.5"
    objective: Objective = 0.99
    patience_s: Patience = 120.0
    prefix: str = knob("vllm:", "Metric prefix", "First characters of the names of the server's metrics.")

    def __post_init__(self) -> None:
        if self.target not in ("prometheus", "grafana"):
            raise InvalidSpec(
                gettext("There is no format for {target}.").format(target=repr(self.target)),
                remedy=gettext("Choose prometheus or grafana."),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSpec(Spec):
    """A watch over one server, without end."""

    command: ClassVar[str] = "monitor"

    url: str = needed(
        "Server to watch",
        "Base URL of a server with a /metrics page.",
        suggestions=("http://localhost:8000",),
        is_argument=True,
    )
    ttft: TtftBound = "0.5"
    objective: Objective = 0.99
    patience_s: Patience = 120.0
    interval_s: float = knob(
        15.0,
        "Scrape interval",
        "Seconds between two reads of the server's metrics, each followed by an evaluation of the rules.",
        unit="s",
        low=0.05,
        high=300,
        option="interval",
        is_advanced=True,
    )
    prefix: str = knob(
        AUTO,
        "Metric prefix",
        f"First characters of the names of the server's metrics; {AUTO} finds {' or '.join(PREFIXES)} on the server's page.",
        suggestions=(AUTO, *PREFIXES),
        is_advanced=True,
    )
    gold_every_s: float = knob(
        0.0,
        "Gold set interval",
        "Seconds between two rounds of the gold set, questions with known answers; 0 turns the gold set off.",
        unit="s",
        low=0,
        high=86400,
        option="gold-every",
        is_advanced=True,
    )
    gold: str | None = knob(
        None,
        "Gold set",
        "File of JSON lines with prompt and pattern; if left out, the workbench asks its own questions "
        "and takes the first answers as correct.",
        is_path=True,
        is_advanced=True,
    )

    def __post_init__(self) -> None:
        require_positive(self, "interval_s")
        if not self.url.startswith(("http://", "https://")):
            raise InvalidSpec(
                gettext("{url} is not a URL.").format(url=repr(self.url)),
                remedy=gettext("Give one like http://localhost:8000."),
            )
        if not self.prefix:
            raise InvalidSpec(
                gettext("There is no metric prefix."),
                remedy=gettext("Give {prefixes}.").format(prefixes=gettext(" or ").join((AUTO, *PREFIXES))),
            )
        if self.gold_every_s < 0 or self.patience_s < 0 or not 0 < self.objective < 1:
            raise InvalidSpec(
                gettext("gold_every_s is {seconds}, patience_s {patience}, objective {objective}.").format(
                    seconds=f"{self.gold_every_s:g}",
                    patience=f"{self.patience_s:g}",
                    objective=f"{self.objective:g}",
                ),
                remedy=gettext("Give 0 or more seconds, and a share between 0 and 1."),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringSpec(WatchSpec):
    """A watch that ends after a while and is stored."""

    kind: ClassVar[str] = "monitoring"

    duration_s: float = knob(
        600.0,
        "Duration of the watch",
        "Seconds after which the watch ends and is stored.",
        unit="s",
        low=1,
        high=LONGEST_S,
        option="duration",
    )

    def __post_init__(self) -> None:
        WatchSpec.__post_init__(self)
        require_positive(self, "duration_s")
        if self.duration_s > LONGEST_S:
            raise InvalidSpec(
                gettext("duration_s is {seconds}.").format(seconds=f"{self.duration_s:g}"),
                remedy=gettext("Give at most {seconds}.").format(seconds=f"{LONGEST_S:g}"),
            )
