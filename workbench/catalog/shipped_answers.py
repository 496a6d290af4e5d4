"""Remakes the answers that come with the workbench: ``python -m workbench.catalog.shipped_answers``."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from workbench.catalog.ask import SHIPPED_ANSWERS, new_answer, shipped_file
from workbench.catalog.config_file import read_config
from workbench.catalog.paths import DATA


def shipped_configs() -> Iterator[tuple[Path, Mapping[str, object]]]:
    """Yield the configurations that come with the workbench, each with its folder."""
    for file in sorted((DATA / "models").glob("*/config.json")):
        yield file.parent, read_config(file)


def main() -> None:
    """Ask every model that comes with the workbench again, and drop the answers of models that no longer do."""
    answers = {shipped_file(fields): new_answer(fields) for _, fields in shipped_configs()}
    for file in SHIPPED_ANSWERS.glob("*.json"):
        file.unlink()
    for file, answer in answers.items():
        file.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
