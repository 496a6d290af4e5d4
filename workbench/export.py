"""``python -m workbench.export NOTEBOOK... --set KEY=VALUE --runs ID`` is ``workbench export``."""

import typer

from workbench.app.sharing import export

if __name__ == "__main__":
    typer.run(export)
