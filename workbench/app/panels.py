"""All panels by the name that a link gives them."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

import workbench.questions
from workbench.core.errors import InvalidSpec
from workbench.interface.question_panel import QuestionPanel

FOLDER = Path(workbench.questions.__file__).parent


@cache
def panel_modules() -> Mapping[str, str]:
    """Return the modules with a panel, by the panel's name; none of them is imported."""
    found = [*FOLDER.rglob("panel.py"), *FOLDER.rglob("panel/__init__.py")]
    files = [file for file in found if "(QuestionPanel)" in file.read_text(encoding="utf-8")]
    folders = sorted(f.parent.parent if f.name == "__init__.py" else f.parent for f in files)
    places = [folder.relative_to(FOLDER).parts for folder in folders]
    return {"/".join(p): ".".join(("workbench.questions", *p, "panel")) for p in places}


def panel_class(name: str) -> type[QuestionPanel]:
    """Return the panel of a name such as "cost"; raises ``InvalidSpec``."""
    if name not in panel_modules():
        raise InvalidSpec(f"There is no panel {name!r}.", remedy=f"There are {', '.join(panel_modules())}.")
    module = import_module(panel_modules()[name])
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, QuestionPanel) and value.__module__ == module.__name__
    )
