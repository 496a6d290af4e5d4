"""Addresses, certificates, counters of prefix caches and the form of answers, as servers have them."""

import http.server
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from workbench.core.errors import InvalidSpec
from workbench.load.address import Address
from workbench.load.ask import Reply, asked_again, the_model
from workbench.load.messages import Call, SentRequest
from workbench.load.prefix_cache import counters_of, hit_fraction
from workbench.load.preflight import ServerProblem, known_dialect
from workbench.load.response import ResponseReader
from workbench.load.spec import LoadSpec
from workbench.load.structure import is_valid


@pytest.mark.parametrize(
    ("url", "host", "route"),
    [
        ("http://localhost:8000", "localhost:8000", "/v1/chat/completions"),
        ("http://localhost:8000/v1/", "localhost:8000", "/v1/chat/completions"),
        ("https://api.example", "api.example", "/v1/chat/completions"),
        ("http://[::1]:8000", "[::1]:8000", "/v1/chat/completions"),
        ("http://[::1]", "[::1]", "/v1/chat/completions"),
        ("https://x.example/api/v3", "x.example", "/api/v3/chat/completions"),
        ("https://x.example/v1beta/openai/", "x.example", "/v1beta/openai/chat/completions"),
        ("http://x/v1/chat/completions", "x", "/v1/chat/completions"),
        (
            "https://x.openai.azure.com/openai/deployments/d?api-version=1",
            "x.openai.azure.com",
            "/openai/deployments/d/chat/completions?api-version=1",
        ),
    ],
)
def test_requests_go_where_the_url_says(url, host, route):
    address = Address.of(url)
    assert address.host_header == host
    assert address.route("chat") == route


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


class Answering(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = b'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return


def test_a_private_authority_is_named_or_any_certificate_is_taken(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    spec = {"url": f"https://localhost:{server.server_port}", "model": "m"}
    try:
        with pytest.raises(ServerProblem, match="--ca FILE"):
            known_dialect(LoadSpec(**spec))
        known_dialect(LoadSpec(**spec, insecure=True))
        known_dialect(LoadSpec(**spec, ca=str(tmp_path / "ca.pem")))
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("before", "after", "fraction"),
    [
        (
            'vllm:prefix_cache_queries_total{e="0"} 100.0\nvllm:prompt_tokens_total 100.0\nvllm:prompt_tokens_cached_total 20.0',
            'vllm:prefix_cache_queries_total{e="0"} 900.0\nvllm:prompt_tokens_total 200.0\nvllm:prompt_tokens_cached_total 45.0',
            0.25,
        ),
        ("", 'vllm:prefix_cache_queries_total{e="0"} 100.0\nvllm:prefix_cache_hits_total{e="0"} 25.0', None),
        (
            'vllm:prefix_cache_queries_total{e="0"} 100.0\nvllm:prefix_cache_hits_total{e="0"} 20.0',
            'vllm:prefix_cache_queries_total{e="0"} 200.0\nvllm:prefix_cache_hits_total{e="0"} 45.0',
            0.25,
        ),
        (
            'sglang:prompt_tokens_total{m="x"} 1000.0',
            'sglang:prompt_tokens_total{m="x"} 1400.0\nsglang:cached_tokens_total{m="x",cache_source="device"} 80.0\n'
            'sglang:cached_tokens_total{m="x",cache_source="host"} 20.0',
            0.25,
        ),
        ("llamacpp:prompt_tokens_total 500", "llamacpp:prompt_tokens_total 800", 0.25),
        ('lmdeploy:prefix_cache_hit_rate{m="x"} 0.0', 'lmdeploy:prefix_cache_hit_rate{m="x"} 0.25', 0.25),
        ("tgi_queue_size 0", "tgi_queue_size 0\ntgi_request_skipped_tokens_sum 50", None),
    ],
    ids=["vLLM since it counts cached tokens", "counters appear", "vLLM", "SGLang", "llama.cpp", "LMDeploy", "TGI"],
)
def test_the_share_of_the_prefix_cache_is_read_from_each_engine(before, after, fraction):
    found = hit_fraction(counters_of(before), counters_of(after), prompt_tokens=400)
    assert found == (None if fraction is None else pytest.approx(fraction))


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    ("answer", "calls", "tools", "wanted", "valid"),
    [
        ("", (Call(name="weather", arguments='{"city": "Bonn"}'),), True, False, True),
        ("", (Call(name="weather", arguments='{"city": 5}'),), True, False, False),
        ("", (Call(name="weather", arguments='{"city": "Bo'),), True, False, False),
        ("", (Call(name="news", arguments="{}"),), True, False, False),
        ("It rains.", (), True, False, False),
        ('{"city": "Bonn"}', (), False, True, True),
        ('{"town": "Bonn"}', (), False, True, False),
        ("Bonn", (), False, True, False),
    ],
)
def test_answers_are_checked_against_the_form_that_was_asked_for(tmp_path, answer, calls, tools, wanted, valid):
    (tmp_path / "tools.json").write_text(
        json.dumps([{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}])
    )
    (tmp_path / "format.json").write_text(json.dumps(SCHEMA))
    spec = LoadSpec(
        url="http://x",
        model="m",
        endpoint="chat",
        tools=str(tmp_path / "tools.json") if tools else None,
        response_format=str(tmp_path / "format.json") if wanted else None,
    )
    request = SentRequest(index=0, due_s=0.0, end_s=1.0, answer=answer, calls=calls)
    assert is_valid(spec, request) is valid
    with pytest.raises(InvalidSpec, match="chat"):
        LoadSpec(url="http://x", model="m", tools=str(tmp_path / "tools.json"))


def test_a_busy_server_is_left_alone_as_long_as_it_says():
    address, pauses = Address.of("http://x"), []
    replies = [
        Reply(status=429, headers={"retry-after": "7"}, body=b"", address=address, target="/"),
        Reply(status=503, headers={"retry-after": "900"}, body=b"", address=address, target="/"),
        Reply(status=200, headers={}, body=b"{}", address=address, target="/"),
    ]
    asked_again(lambda: replies.pop(0), tries=5, patience_s=30, pause=pauses.append)
    assert pauses == [7, 30]


@pytest.mark.parametrize(
    ("wire", "body", "status"),
    [
        (b"HTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", 200),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n",
            b"hi",
            200,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\n\r\n", b"hi", 200),
        (b"HTTP/1.0 200 OK\nContent-Length: 2\n\nhi", b"hi", 200),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", 204),
    ],
)
def test_framing_is_that_of_http(wire, body, status):
    for size in (1, 5, len(wire)):
        kept = []
        reader = ResponseReader(kept.append)
        for i in range(0, len(wire), size):
            reader.feed(wire[i : i + size])
        assert (b"".join(kept), reader.status, reader.is_complete) == (body, status, True)


def test_a_server_that_does_not_answer_is_told_from_one_that_lists_nothing():
    with pytest.raises(InvalidSpec, match="does not answer") as raised:
        the_model(LoadSpec(url="http://127.0.0.1:9", model="-"))
    assert "Start the server" in raised.value.remedy
