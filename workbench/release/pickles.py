"""Detection of pickles and their imports, read opcode by opcode and never loaded."""

import io
import pickletools
import zipfile
from typing import BinaryIO

MOST_BYTES = 64 << 20
CALLS = frozenset({"REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX"})


def pickle_calls(opened: BinaryIO) -> list[str] | None:
    """Return the imports of a pickle, or of the pickles in a zip file as torch.save writes it; None for any other file.

    Every import counts, whatever its name, because lists of dangerous names are never complete. Reading ends at the first invalid opcode.
    """
    opened.seek(0)
    data = opened.read(MOST_BYTES)
    opened.seek(0)
    if data[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                inner = [n for n in archive.namelist() if n.endswith((".pkl", ".pickle"))]
                imports = [_calls(archive.read(n)) for n in inner]
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
            return None
        names = [c for calls in imports if calls is not None for c in calls]
        return names if inner else None
    return _calls(data)


def _calls(data: bytes) -> list[str] | None:
    """Return the imports in the order of the opcodes.

    Without the mark of protocol 2, only a complete pickle with imports counts, because texts may begin like the oldest protocols.
    """
    names: list[str] = []
    texts: list[str] = []
    has_mark, is_whole = data[:1] == b"\x80", False
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in {"GLOBAL", "INST"} and isinstance(argument, str):
                names.append(argument.replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.append(".".join(texts[-2:]) or "something")
            elif opcode.name in CALLS and not names:
                names.append("something")
            elif isinstance(argument, str):
                texts.append(argument)
            is_whole = opcode.name == "STOP"
    except (ValueError, IndexError, UnicodeDecodeError, EOFError):
        return names if has_mark else None
    return names if has_mark or (is_whole and names) else None
