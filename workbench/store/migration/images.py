"""Runs of images of format 1."""

from workbench.core.json_values import JsonObject

PARTS = ("accept_s", "encoder_s", "projector_s", "prompt_s")


def migrated(run: JsonObject) -> JsonObject:
    """Return a run whose parts are nested, with the samples of each engine by what it was asked."""
    engines = {cache: _engine(lines) for cache, lines in run["samples"]["lines"].items()}
    results = [_cell(row) if row["part"] == "cell" else row for row in run["results"]]
    return {**run, "results": results, "samples": {"engines": engines}}


def _cell(row: JsonObject) -> JsonObject:
    return {
        **row,
        "is_held_out": row["held_out"],
        "parts": {name: row[name] for name in PARTS},
        "predicted": row["predicted_parts_s"],
        "computed": row["computed_parts_s"],
    }


def _engine(lines: list[JsonObject]) -> JsonObject:
    def asked(do: str, **names: str) -> list[JsonObject]:
        own = [line for line in lines if line.get("do") == do]
        return [{"requests": line["requests"]} | {new: line[old] for new, old in names.items()} for line in own]

    return {
        "start": next(line for line in lines if "ready_s" in line),
        "texts": asked("text", n_tokens="n"),
        "images": asked("pictures", height_px="height", width_px="width", n_images="n"),
        "streams": asked("about", hit_rate="hit_rate"),
        "hash_s": [request["hash_s"] for line in asked("hash") for request in line["requests"]],
    }
