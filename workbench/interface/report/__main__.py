"""``python -m workbench.interface.report NOTEBOOK... --out FOLDER`` writes one HTML report per notebook."""

import argparse
import sys
from pathlib import Path

from workbench.core.errors import WorkbenchError
from workbench.interface.report.notebook import write_report


def main() -> int:
    """Write the reports; status 1 when a notebook failed."""
    parser = argparse.ArgumentParser(
        prog="python -m workbench.interface.report", description="Notebooks as offline HTML reports."
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("reports"))
    args = parser.parse_args()
    failed = False
    for notebook in args.notebooks:
        try:
            target = write_report(notebook, args.out / f"{notebook.stem}.html")
        except WorkbenchError as error:
            sys.stderr.write(f"{error.cause}\n{error.remedy}\n")
            failed = True
        else:
            sys.stdout.write(f"{target}  {target.stat().st_size / 1e3:.0f} kB\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
