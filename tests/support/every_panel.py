"""All panels of all questions, as classes."""

from importlib import import_module
from pathlib import Path

import workbench.questions
from workbench.interface.question_panel import QuestionPanel

FOLDER = Path(workbench.questions.__file__).parent


def question_modules(name):
    """The modules of a standard name, in all questions and their parts."""
    files = [*FOLDER.rglob(f"{name}.py"), *FOLDER.rglob(f"{name}/__init__.py")]
    paths = sorted(f.parent if f.name == "__init__.py" else f.with_suffix("") for f in files)
    return [import_module(".".join(["workbench", "questions", *p.relative_to(FOLDER).parts])) for p in paths]


def panel_classes():
    """Every panel, by its module's name without the common part."""
    return {
        f"{module.__name__.removeprefix('workbench.questions.')}.{name}": value
        for module in question_modules("panel")
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, QuestionPanel) and value.__module__.startswith(module.__name__)
    }
