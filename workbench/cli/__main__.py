"""``python -m workbench.cli`` is the same as ``workbench``."""

from workbench.cli.main import main

main()
