"""Commands that are started alone are those of the whole program."""

import subprocess
import sys
from importlib import import_module

from typer.main import get_command

from workbench.app.entry import PLACES
from workbench.app.main import _command, app


def test_each_command_is_started_from_its_own_module():
    whole = set(get_command(app).commands)
    for word, module in PLACES.items():
        assert word in {_command(f)[0] for f in import_module(f"workbench.{module}").COMMANDS}
        assert word in whole


def test_a_command_alone_has_its_own_help_and_imports_no_other_question():
    code = (
        "import sys; sys.argv[1:] = ['estimate', '--help']\n"
        "from workbench.app.entry import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if m.startswith('workbench.questions.') and m.count('.') == 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "Usage: workbench estimate" in done.stdout
    assert done.stdout.splitlines()[-1] == "['workbench.questions.parallelism']"
