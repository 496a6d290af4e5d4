"""The process that asks a model: fields as JSON on standard input, the answer as JSON on standard output.

Its argument is the processor time after which it is ended, where the system can do that.
"""

import json
import signal
import sys

from workbench.core.language import keep_english
from workbench.understanding.imports import CompilerNeeded, import_for_asking, put_compiler_back


def main() -> None:
    """Answer what stands on standard input, once, in English: answers are kept."""
    keep_english()
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_VIRTUAL, float(sys.argv[1]))
    import_for_asking()
    from workbench.understanding.child import answer_to

    fields = json.load(sys.stdin)
    try:
        answer = answer_to(fields)
    except CompilerNeeded:
        put_compiler_back()
        answer = answer_to(fields)
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    main()
