"""A model asked for its counts, in a process of its own, and its answers kept by the hash of what was asked."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import msgspec
import platformdirs

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.paths import DATA
from workbench.core.errors import NotAModel, UnknownStorage
from workbench.core.language import gettext
from workbench.core.stored_texts import translated

ANSWERS = 2
"""Number of the form of answers; kept ones of another number are asked again."""
SHIPPED_ANSWERS = DATA / "models" / "answers"
"""Answers for the models that come with the workbench."""
CPU_LIMIT_S = 60.0
"""Processor time, which a busy machine does not lengthen: 3 s are the import of torch and transformers, the largest models take one."""
HANG_LIMIT_S = 600.0
"""Time after which a process is taken to hang, however busy the machine is."""
UNIMPORTANT = (
    "_name_or_path",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


def asked_model(fields: Mapping[str, object]) -> ModelSpec:
    """Return what transformers' own class says of a configuration, from an earlier answer where there is one.

    Raises:
        NotAModel: transformers does not know the type, refuses a value, or reads none of the fields that set a size.
    """
    text = _text(fields)
    key = _hash(f"{ANSWERS} {version('transformers')} {text}")
    own = answers_folder() / f"{key}.json"
    for file in (shipped_file(fields), own):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return _spec(msgspec.json.decode(file.read_bytes()))
    answer = _ask(text)
    with contextlib.suppress(OSError):  # an answer that cannot be kept is asked again
        answers_folder().mkdir(parents=True, exist_ok=True)
        part = own.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(msgspec.json.encode(answer))
        part.replace(own)
    return _spec(answer)


def shipped_file(fields: Mapping[str, object]) -> Path:
    """Return where the answer for a configuration lies if it comes with the workbench."""
    return SHIPPED_ANSWERS / f"{_hash(f'{ANSWERS} {_text(fields)}')}.json"


def new_answer(fields: Mapping[str, object]) -> dict[str, object]:
    """Return what a new process answers, whatever is kept."""
    return _ask(_text(fields))


def answers_folder() -> Path:
    """Return where answers are kept: a folder of the user's cache."""
    return Path(platformdirs.user_cache_dir("inference-workbench")) / "models"


def _text(fields: Mapping[str, object]) -> str:
    """Return the fields that an answer depends on, in one order."""
    return json.dumps({k: v for k, v in fields.items() if k not in UNIMPORTANT}, sort_keys=True)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _spec(answer: Mapping[str, object]) -> ModelSpec:
    if "cause" in answer:
        kind = UnknownStorage if answer.get("is_storage") else NotAModel
        cause, remedy = (translated(str(answer[part]), domain="understanding") for part in ("cause", "remedy"))
        raise kind(cause, remedy=remedy)
    return msgspec.convert(answer["spec"], ModelSpec)


def _ask(text: str) -> dict[str, object]:
    """Return the answer of a new process; what it prints besides is dropped."""
    command = [sys.executable, "-W", "ignore", "-m", "workbench.understanding.process", str(CPU_LIMIT_S)]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=HANG_LIMIT_S, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired as error:
        raise _not_built(f"{HANG_LIMIT_S:.0f} s") from error
    except subprocess.CalledProcessError as error:
        if error.returncode == -getattr(signal, "SIGVTALRM", 0):
            raise _not_built(gettext("{n} s of processor time").format(n=f"{CPU_LIMIT_S:.0f}")) from error
        last = (error.stderr or "").strip().splitlines()[-1:] or [
            gettext("exit status {code}").format(code=error.returncode)
        ]
        raise NotAModel(
            gettext("The model could not be asked: {reason}").format(reason=last[0][:300]),
            remedy=gettext("Look at the values in its config.json."),
        ) from error


def _not_built(limit: str) -> NotAModel:
    return NotAModel(
        gettext("The model was not built within {limit}.").format(limit=limit),
        remedy=gettext("Look at the sizes in its config.json."),
    )
