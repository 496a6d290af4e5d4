"""A stand-in for the job's process: real life cycle, a measurement that only sleeps, or waits for the test where it is asked to."""

import subprocess
import sys
import time
from pathlib import Path

from support import invented_run

from workbench.core.errors import InvalidSpec
from workbench.core.progress import Progress
from workbench.jobs.child import carry_out
from workbench.jobs.directory import JobDirectory
from workbench.store.runs import RunStore


def pretend(kind, spec, folder):
    if spec.get("grandchild"):
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (folder / "grandchild").write_text(str(grandchild.pid))
    if spec.get("fails") == "ours":
        raise InvalidSpec("The text is too short.", remedy="Use a longer one.")
    if spec.get("fails") == "defect":
        raise ZeroDivisionError("a defect")
    if spec.get("fails") == "disk":
        raise OSError(28, "No space left on device")
    steps = spec.get("steps", 3)
    (folder / "parts").mkdir(exist_ok=True)
    for i in range(steps):
        while i == spec.get("waits_at") and not (folder / "go").exists():
            time.sleep(0.02)
        part = folder / "parts" / f"{i}"
        if not part.exists():
            time.sleep(spec.get("step_s", 0.02))
            part.touch()
        yield Progress(step=f"step {i + 1}", done=i + 1, total=steps)
    yield invented_run()


if __name__ == "__main__":
    carry_out(JobDirectory(Path(sys.argv[1])), RunStore(Path(sys.argv[2])), pretend)
