"""Which tool wrote a file, and what it holds."""

from dataclasses import replace
from pathlib import Path

from workbench.core.errors import StoreError
from workbench.core.rows import Failure
from workbench.load.peers import aiperf, bench_lists, genai_perf, guidellm, inference_perf, llmperf
from workbench.load.peers.documents import documents_in
from workbench.load.peers.result import PeerResult, utc

IN_FOLDERS = (
    aiperf.REQUESTS,
    genai_perf.REQUESTS,
    inference_perf.REQUESTS,
    f"*{llmperf.REQUESTS_END}.json",
    "benchmarks.json",
    "benchmarks.yaml",
    aiperf.TOTALS,
    f"*{genai_perf.TOTALS_END}.json",
    f"*{llmperf.TOTALS_END}.json",
    "summary_lifecycle_metrics.json",
)
"""What is looked for in a folder, files with single requests first."""
LOCUST = "Type,Name,Request Count"
MLPERF = "MLPerf Results Summary"
GUIDELLM_CSV = "Run Info,"


def read_peers(path: Path) -> tuple[PeerResult, ...] | None:
    """Return the loads in a file or folder of another tool; None when it is of none that is known.

    Known: guidellm since 0.2 (JSON, YAML), AIPerf, genai-perf, ``vllm bench serve``, SGLang's ``bench_serving``,
    llmperf and inference-perf. A file that holds totals only leads to the one with the requests beside it.

    Raises:
        StoreError: A file of such a tool that does not hold single requests.
    """
    if path.is_dir():
        inside = next((file for pattern in IN_FOLDERS for file in sorted(path.glob(pattern))), None)
        if inside is None:
            raise StoreError(
                f"{path} holds no result of a load generator.", remedy=f"It needs one of: {', '.join(IN_FOLDERS)}."
            )
        path = inside
    documents = documents_in(path)
    if documents is None:
        _refuse_tables(path)
        return None
    found = _read(path, documents)
    return None if found is None else tuple(peer if peer.date else _dated(peer, path) for peer in found)


def _dated(peer: PeerResult, path: Path) -> PeerResult:
    """Return a result that has no date with that of its file, which the tool wrote when the load had ended."""
    lack = Failure(
        cause="The file does not tell when it was measured: the date is that of the file.",
        remedy="It is right unless the file was changed or copied since.",
    )
    return replace(peer, date=utc(path.stat().st_mtime), lacks=(*peer.lacks, lack))


def _read(path: Path, documents: tuple[object, ...]) -> tuple[PeerResult, ...] | None:
    first = documents[0]
    if aiperf.is_aiperf_request(first):
        return (aiperf.read_aiperf(path, documents),)
    if aiperf.is_aiperf_totals(first):
        return (aiperf.read_aiperf(path),)
    if bench_lists.is_bench(first):
        return tuple(_one_of(documents, i) for i in range(len(documents)))
    if len(documents) > 1:
        return None
    return _read_document(path, first)


def _one_of(documents: tuple[object, ...], i: int) -> PeerResult:
    """Return one of the results that were appended to a file; an error says which one it is about."""
    try:
        return bench_lists.read_bench(documents[i])
    except StoreError as error:
        if len(documents) == 1:
            raise
        raise StoreError(f"Result {i + 1} of {len(documents)}: {error.cause}", remedy=error.remedy) from error


def _read_document(path: Path, document: object) -> tuple[PeerResult, ...] | None:
    if guidellm.is_guidellm(document):
        return guidellm.read_guidellm(document)
    if genai_perf.is_genai_perf(document):
        return genai_perf.read_genai_perf(document)
    if genai_perf.is_genai_perf_totals(document, path):
        return genai_perf.read_genai_perf_totals(path)
    if llmperf.is_llmperf(document):
        return (llmperf.read_llmperf(path, document),)
    if llmperf.is_llmperf_totals(document):
        return (llmperf.read_llmperf_totals(path),)
    if inference_perf.is_inference_perf(document):
        return (inference_perf.read_inference_perf(document),)
    if inference_perf.is_inference_perf_totals(document):
        return (inference_perf.read_inference_perf_totals(path),)
    return None


def _refuse_tables(path: Path) -> None:
    """Refuse tables of totals; other text is from none of these tools.

    Raises:
        StoreError: It is such a table.
    """
    try:
        head = path.read_text(encoding="utf-8-sig")[:4096]
    except (OSError, UnicodeDecodeError):
        return
    if head.replace('"', "").startswith(LOCUST):
        raise StoreError(
            "The file is locust's table of totals; locust writes neither single requests nor tokens.",
            remedy="Measure the server with workbench load, or with guidellm or AIPerf.",
        )
    if MLPERF in head:
        raise StoreError(
            "The file is MLPerf's summary, which holds totals only.",
            remedy="Single requests of its LoadGen are not read; measure the server with workbench load.",
        )
    if path.suffix == ".csv" and head.startswith(GUIDELLM_CSV):
        raise StoreError("The file is guidellm's table, which holds totals only.", remedy="Name its benchmarks.json.")
    if path.name.endswith(("_aiperf.csv", "_genai_perf.csv")):
        raise StoreError(
            f"{path.name} is a table of totals.",
            remedy="Name the folder that it is in, or profile_export.jsonl or .json.",
        )
