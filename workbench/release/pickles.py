"""Whether a file is a pickle, and what it would call: read opcode by opcode, never loaded."""

import io
import pickletools
import zipfile
from typing import BinaryIO

MOST_BYTES = 64 << 20
CALLS = frozenset({"REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX"})


def pickle_calls(opened: BinaryIO) -> list[str] | None:
    """What a pickle, or a zip file with pickles in it as torch.save writes them, would import; None when it is none.

    Every import counts, whatever its name: lists of dangerous names leak. The reading ends at the first opcode that is none.
    """
    opened.seek(0)
    data = opened.read(MOST_BYTES)
    opened.seek(0)
    if data[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                inner = [n for n in archive.namelist() if n.endswith((".pkl", ".pickle"))]
                found = [_calls(archive.read(n)) for n in inner]
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
            return None
        kept = [c for calls in found if calls is not None for c in calls]
        return kept if inner else None
    return _calls(data)


def _calls(data: bytes) -> list[str] | None:
    """Imports in the order of the opcodes.

    Without protocol 2's mark, only what reads as a whole pickle with imports is one: texts may begin like the oldest protocols.
    """
    names: list[str] = []
    texts: list[str] = []
    has_mark, is_whole = data[:1] == b"\x80", False
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL" and isinstance(argument, str):
                names.append(argument.replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.append(".".join(texts[-2:]) or "something")
            elif opcode.name == "INST" and isinstance(argument, str):
                names.append(argument.replace(" ", "."))
            elif opcode.name in CALLS and not names:
                names.append("something")
            elif isinstance(argument, str):
                texts.append(argument)
            is_whole = opcode.name == "STOP"
    except (ValueError, IndexError, UnicodeDecodeError, EOFError):
        return names if has_mark else None
    return names if has_mark or (is_whole and names) else None
