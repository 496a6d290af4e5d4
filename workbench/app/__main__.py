"""``python -m workbench.app`` is the same as ``workbench``."""

from workbench.app.entry import main

main()
