"""What a mock server of one dialect remembers: its prefix cache, and which requests it refuses."""

from collections.abc import Mapping

import orjson

from workbench.apparatus.mock_dialects import Dialect


class Room:
    """What a server of one dialect remembers between requests."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.n_requests = 0
        self.seen: set[str] = set()
        self.queries = self.hits = 0

    def refusal(self, headers: Mapping[str, str], path: str, body: bytes) -> tuple[int, str] | None:
        """Return status and message of a request that is not answered; None for one that is."""
        d = self.dialect
        self.n_requests += 1
        if d.echoes_after is not None and self.n_requests > d.echoes_after:
            return 401, f"refused: {dict(headers)} {path} {body.decode(errors='replace')}"
        if d.needs_header and headers.get(d.needs_header[0]) != d.needs_header[1]:
            return 401, f"wrong key {headers.get(d.needs_header[0])}"
        if d.needs_query and d.needs_query not in path:
            return 404, "Resource not found"
        if self.n_requests <= d.busy_first:
            return 429, "busy"
        fields = orjson.loads(body)
        refused = [name for name in d.refuses if name in fields]
        if refused:
            named = f"Unsupported parameter: '{refused[0]}'." if d.names_refused else "Internal Server Error"
            return d.refusal_status, named + (f" Use '{d.needs_field}'." if refused[0] == "max_tokens" else "")
        if d.needs_field and d.needs_field not in fields:
            return 400, f"'{d.needs_field}' is needed"
        return None

    def prompt_tokens(self, body: bytes) -> tuple[int, int]:
        """Return the words of a prompt, and how many of them were seen before."""
        fields = orjson.loads(body)
        prompt = fields.get("prompt") or fields.get("input") or fields["messages"][0]["content"]
        words = str(prompt).split()
        if not self.dialect.caches:
            return len(words), 0
        start = " ".join(words[:16])
        found = len(words) // 16 * 16 if start in self.seen else 0
        self.seen.add(start)
        self.queries += len(words)
        self.hits += found
        return len(words), found

    def metrics(self) -> bytes:
        """Return the counters of the prefix cache as vLLM shows them."""
        label = '{engine="0",model_name="mock"}'
        return (
            f"vllm:prefix_cache_queries_total{label} {self.queries}.0\nvllm:prefix_cache_hits_total{label} {self.hits}.0\n"
        ).encode()
