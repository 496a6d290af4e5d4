"""JSON of a request, parsed only after its depth and its number of values are known to be harmless."""

import json
import re

from workbench.core.errors import WorkbenchError
from workbench.core.rows import Json

STRUCTURE = re.compile(rb'["\[\]{}]')
REST_OF_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)  # possessive: one pass, whatever the text
MOST_VALUES = 100_000


def written(message: Json) -> bytes:
    """Return a message as JSON in UTF-8, or in ASCII where it holds half of a pair of surrogates, which UTF-8 cannot hold."""
    try:
        return json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(message).encode()


class BadRequest(WorkbenchError):
    """A request that is refused because it is invalid."""

    def __init__(
        self, status: int, code: str, cause: str, *, field: str | None = None, remedy: str = "Correct the request."
    ) -> None:
        super().__init__(cause, remedy=remedy)
        self.status, self.code, self.field = status, code, field


def parse_object(raw: bytes, *, max_depth: int) -> dict[str, Json]:
    """Return the object of a body; raises ``BadRequest`` for deep nesting, repeated fields and what is no JSON object."""
    _require_flat(raw, max_depth)

    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            cause = f"The field {twice!r:.80} occurs twice, and parsers differ on which one counts."
            raise BadRequest(400, "duplicate_field", cause, field=twice[:80])
        return fields

    def no_constant(name: str) -> None:
        raise BadRequest(400, "not_json", f"{name} is not JSON.")

    try:
        body: Json = json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=no_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(400, "not_utf8", f"The body is not UTF-8 at byte {error.start}.") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(400, "not_json", f"The body is not JSON: {str(error)[:100]}.") from error
    if not isinstance(body, dict):
        raise BadRequest(400, "not_an_object", "The body is not a JSON object.")
    return body


def _require_flat(raw: bytes, max_depth: int) -> None:
    """Refuse deep nesting and very many values before the JSON is parsed; strings are skipped as wholes."""
    depth = at = 0
    for _ in range(MOST_VALUES):
        mark = STRUCTURE.search(raw, at)
        if mark is None:
            return
        at = mark.end()
        if mark[0] == b'"':
            text = REST_OF_TEXT.match(raw, at)
            if text is None:
                return  # the string does not end; the parser reports it
            at = text.end()
        elif mark[0] in b"[{":
            depth += 1
            if depth > max_depth:
                raise BadRequest(400, "too_deep", f"Values are nested more than {max_depth} deep.")
        else:
            depth -= 1
    raise BadRequest(400, "too_many_values", f"The body has more than {MOST_VALUES} texts and brackets.")
