"""Commands that are started alone are those of the whole program."""

import subprocess
import sys

from workbench.app.entry import PLACES
from workbench.app.main import GROUPS, MODULES, _command, _functions


def test_each_command_is_started_from_its_own_module():
    places = {place for question in MODULES.values() for place in question}
    of = {_command(f)[0]: place for place in places for f in _functions(place) if _command(f)[0] not in GROUPS}
    for word, module in PLACES.items():
        assert module.removeprefix("questions.").removesuffix(".command") == of[word]


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
