"""What JSON holds before it is decoded into a dataclass."""

from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""One object of a document; its values are checked where it is decoded."""
