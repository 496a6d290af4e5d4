"""The command that redacts a text, and scores detectors on a generated corpus."""

import json
import sys
from typing import Annotated

import typer

from workbench.gateway.redaction import redact_text
from workbench.interface.command import AsJson, print_table
from workbench.interface.follow import measured
from workbench.interface.knobs import asks_for, named
from workbench.interface.readable import out
from workbench.questions.security.findings import SCORE_HEAD, score_rows, stream_summary
from workbench.questions.security.spec import RedactionSpec


@named("redact")
@asks_for(RedactionSpec)
def redact(
    spec: RedactionSpec,
    *,
    score: Annotated[
        bool,
        typer.Option(
            "--score",
            help="Score detectors on a generated corpus instead of redacting; all other options apply to the corpus.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replace personal data and secrets in standard input; --score measures precision and recall of detectors."""
    if not score:
        text, findings = redact_text(sys.stdin.read())
        print(text, end="")
        kinds = ", ".join(sorted({f.kind for f in findings}))
        print(f"{len(findings)} replaced{': ' if kinds else ''}{kinds}", file=sys.stderr)
        return
    run = measured(spec.kind, spec.to_dict(), can_resume=False)
    if as_json:
        print(json.dumps(run.to_dict(), indent=1, ensure_ascii=False))
        return
    print_table(SCORE_HEAD, score_rows(run))
    out.print(stream_summary(run), highlight=False)


COMMANDS = (redact,)
