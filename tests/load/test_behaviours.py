"""Servers that write bytes by the rules, or break them as reports say: what is counted is what they wrote; one load each."""

from types import SimpleNamespace

import pytest
from support.behaviours import BEHAVIOURS
from support.raw_server import RawServer

from workbench.load.flight import AT_ONCE_NS, Flight
from workbench.load.messages import SentLoad
from workbench.load.process import LoadProcess
from workbench.load.records import records
from workbench.load.rows import PrefixHits
from workbench.load.spec import LoadSpec
from workbench.load.summary import summary

N_REQUESTS = 3
NO_HITS = PrefixHits(hit_fraction=None, warning=None, counters_found=False)


@pytest.fixture(scope="module")
def server():
    made = RawServer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def process():
    with LoadProcess() as child:
        yield child


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_server_is_read_by_the_rules(server, process, name):
    b = BEHAVIOURS[name]
    server.write, server.truth = b.write, {}
    spec = LoadSpec(
        url=f"http://127.0.0.1:{server.port}", model="m", arrivals="constant", rate_per_s=50.0, duration_s=N_REQUESTS / 50,
        output_tokens=4, endpoint=b.endpoint, calibrate=False, timeout_s=60.0, ignore_eos=False,
    )  # fmt: skip
    *_, last = process.messages(spec)
    assert isinstance(last, SentLoad)
    rows = records(last.requests, None)
    assert len(rows) == N_REQUESTS
    for row in rows:
        true = server.truth[row.index]
        if b.cause:
            assert b.cause in (row.error or ""), row
            assert not row.ok
            continue
        assert row.error is None
        assert row.output_tokens == (b.tokens or true.tokens)
        assert len(row.chunk_s) == len(true.writes_s)
        written = [t - last.started_monotonic_s for t in true.writes_s]
        assert all(c >= w for c, w in zip(row.chunk_s, written, strict=True))
    found = summary(spec, rows, None, NO_HITS)
    assert found.counts.failed == (N_REQUESTS if b.cause else 0)
    assert not {w.kind for w in found.warnings} & {"token-count-mismatch"}


@pytest.mark.parametrize(
    ("after_ns", "on_kept", "is_resent"), [(1, True, True), (1, False, False), (2 * AT_ONCE_NS, True, False)]
)
def test_a_proxy_that_had_given_up_a_kept_connection_is_asked_again(after_ns, on_kept, is_resent):
    """A 408 that comes at once on a kept connection belongs to no request (RFC 9110, section 15.5.9)."""
    resent, finished = [], []
    driver = SimpleNamespace(send_anew=resent.append, finished=finished.append, redacted=str)
    flight = Flight(index=0, due_ns=0, driver=driver, input_tokens=1, output_tokens=1, conversation=0)
    flight.on_kept, flight.connection, flight.written_ns = on_kept, SimpleNamespace(opening_ns=0), 10
    flight.ended(10 + after_ns, SimpleNamespace(status=408, headers={}), None)
    assert (resent, finished) == (([flight], []) if is_resent else ([], [flight]))
