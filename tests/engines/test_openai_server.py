"""The server in front of our engines keeps to the OpenAI interface: what it cannot do right is a 400 that names the field."""

import asyncio
import json
import shutil
import socket
import threading
import urllib.error
import urllib.request

import pytest
from aiohttp import web
from support.waiting import wait_for
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import NotAModel, NotAvailable
from workbench.core.ports import Generation, TokenEvent
from workbench.engines.openai_server import OpenAiServer
from workbench.engines.paged_check import Reference, require_same_tokens
from workbench.engines.serving import launch_for
from workbench.engines.stop_strings import until_stop
from workbench.engines.text import BadMessages, ChatTemplate, eos_ids, tokenizer_of
from workbench.engines.torch_engine import TorchEngine

pytestmark = pytest.mark.filterwarnings("ignore")
NAME = "m"
PROMPT = "def read_file(path):\n    with open(path) as f:\n"


class Served:
    """An application on a port of this machine, in a thread of its own."""

    def __init__(self, server):
        self.server, self._loop, self._up = server, asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(30)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self.server.app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._up.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    def ask(self, path, body=None, content_type="application/json"):
        """Return status and parsed body."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": content_type})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def complete(self, **fields):
        return self.ask("/v1/completions", {"model": NAME, "prompt": PROMPT, "max_tokens": 8, **fields})

    def chat(self, **fields):
        messages = [{"role": "user", "content": PROMPT}]
        return self.ask("/v1/chat/completions", {"model": NAME, "messages": messages, "max_tokens": 8, **fields})

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)


@pytest.fixture(scope="module")
def served():
    running = Served(OpenAiServer(TorchEngine(REFERENCE_MODEL), name=NAME))
    yield running
    running.stop()


def text_of(answer):
    status, body = answer
    assert status == 200, body
    return body["choices"][0]["text"]


def test_the_official_client_reads_completions_chats_streams_and_errors(served):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    assert client.models.list().data[0].id == NAME
    plain = client.completions.create(model=NAME, prompt=PROMPT, max_tokens=8, temperature=0, seed=7)
    assert plain.usage.completion_tokens == 8
    chat = client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": PROMPT}], max_tokens=8)
    assert chat.choices[0].message.content == plain.choices[0].text
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.completions.create(model=NAME, prompt=PROMPT, max_tokens=8, **options))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == plain.choices[0].text
    assert chunks[-1].usage.completion_tokens == 8
    assert not chunks[-1].choices
    with pytest.raises(openai.BadRequestError, match="n must be 1"):
        client.completions.create(model=NAME, prompt=PROMPT, n=2)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="other", prompt=PROMPT)


def test_a_batch_of_prompts_is_answered_in_its_order(served):
    prompts = [PROMPT, "import os\n", "class Stack:\n"]
    alone = [text_of(served.complete(prompt=p)) for p in prompts]
    ids = [served.ask("/tokenize", {"prompt": p})[1]["tokens"] for p in prompts]
    for batch in (prompts, ids):
        status, body = served.complete(prompt=batch)
        assert status == 200
        assert [c["text"] for c in body["choices"]] == alone
        assert [c["index"] for c in body["choices"]] == [0, 1, 2]
        assert body["usage"]["completion_tokens"] == 24
    assert text_of(served.complete(prompt=ids[0])) == alone[0]


def test_stop_ends_the_text_before_the_string_even_across_tokens(served):
    whole = text_of(served.complete(max_tokens=24, ignore_eos=True))
    stop = whole[9:14]
    status, body = served.complete(max_tokens=24, ignore_eos=True, stop=[stop, "never"])
    assert status == 200
    assert body["choices"][0]["text"] == whole[: whole.find(stop)]
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] < 24


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", []),
        ("prompt", ""),
        ("prompt", 5),
        ("prompt", ["a", 1]),
        ("prompt", [[1, "a"]]),
        ("prompt", [1, 10**6]),
        ("prompt", [[1, 2], [-1]]),
        ("max_tokens", 0),
        ("max_tokens", "8"),
        ("max_tokens", 10**6),
        ("temperature", 0.7),
        ("n", 2),
        ("best_of", 3),
        ("logprobs", 0),
        ("logprobs", 5),
        ("echo", True),
        ("suffix", "x"),
        ("logit_bias", {"5": 1}),
        ("presence_penalty", 0.5),
        ("stop", [""]),
        ("stop_token_ids", [3]),
        ("response_format", {"type": "json_object"}),
        ("stream_options", {"include_usage": True}),
    ],
)
def test_what_cannot_be_done_right_is_a_400_that_names_the_field(served, field, value):
    status, body = served.complete(**{field: value})
    assert (status, body["error"]["param"]) == (400, field)
    assert served.ask("/health")[0] == 200
    assert text_of(served.complete())  # the next request is answered


@pytest.mark.parametrize("field", ["user", "store", "metadata", "top_p", "seed", "unknown_to_all"])
def test_fields_that_change_no_greedy_answer_are_ignored(served, field):
    assert text_of(served.complete(**{field: 1})) == text_of(served.complete())


def test_a_prompt_and_answer_beyond_the_context_are_refused_in_the_words_of_vllm(served):
    longest = served.ask("/v1/models")[1]["data"][0]["max_model_len"]
    status, body = served.complete(prompt=[5] * longest)
    assert (status, body["error"]["code"]) == (400, 400)
    assert (
        f"maximum context length is {longest} tokens. However, you requested {longest + 8}" in body["error"]["message"]
    )


def test_messages_without_a_template_are_joined_and_other_content_is_refused(served):
    parts = [{"type": "text", "text": PROMPT}]
    status, body = served.chat(messages=[{"role": "user", "content": parts}])
    assert status == 200
    assert body["choices"][0]["message"]["role"] == "assistant"
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    for messages in ([{"role": "user", "content": picture}], [], [{"role": "user", "content": 5}]):
        status, body = served.chat(messages=messages)
        assert (status, body["error"]["param"]) == (400, "messages")
    assert served.chat(tools=[{"type": "function"}])[1]["error"]["param"] == "tools"


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        ("/v1/completions", b"{", "application/json", 400),
        ("/v1/completions", b"[]", "application/json", 400),
        ("/v1/completions", b'{"prompt":"' + b"\xff" + b'"}', "application/json", 400),
        ("/v1/completions", b"[" * 100_000, "application/json", 400),
        ("/v1/completions", b'{"prompt":"a"}', "text/plain", 415),
        ("/v1/completions", b" " * ((64 << 20) + 1), "application/json", 413),
        ("/v1/completions", None, "application/json", 405),
        ("/v1/nothing", b"{}", "application/json", 404),
    ],
)
def test_bad_bodies_are_refused_as_json_and_hurt_nobody(served, path, body, content_type, status):
    try:
        found, answer = served.ask(path, body, content_type)
    except urllib.error.URLError:
        assert status == 413  # the server closes while the client still writes
    else:
        assert (found, answer["error"]["code"]) == (status, status)
    assert text_of(served.complete())


def test_a_client_that_leaves_frees_the_engine(served):
    body = json.dumps({"model": NAME, "prompt": PROMPT, "max_tokens": 400, "ignore_eos": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        wait_for(lambda: under_way(served) == 1)
    wait_for(lambda: under_way(served) == 0)
    wait_for(lambda: not served.server.engine.counters()["num_requests_running"])


def under_way(served):
    return served.server.metrics.under_way._value.get()


def test_health_is_503_and_requests_end_once_the_engine_has_died():
    engine = TorchEngine(REFERENCE_MODEL)
    dying = Served(OpenAiServer(engine, name=NAME))
    engine._limits = type(engine._limits)(n_vocab=None, max_model_len=None)  # as if the check were not there
    status, _ = dying.complete(prompt=[1, 10**6])
    assert status == 503
    assert dying.ask("/health")[0] == 503
    assert dying.complete()[0] == 503
    dying.stop()


TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}{% if tools %}[{{ tools[0].function.name }}]{% endif %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_a_chat_template_gives_roles_and_tools_and_refuses_in_its_own_words(tmp_path):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(REFERENCE_MODEL / "tokenizer.json"))
    assert ChatTemplate.of(REFERENCE_MODEL) is None
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    template = ChatTemplate.of(tmp_path)
    ids = template.ids([{"role": "user", "content": "import os"}], [{"function": {"name": "look"}}])
    assert tokenizer.decode(ids) == "<user>import os[look]<assistant>"
    with pytest.raises(BadMessages, match="System role not supported"):
        template.ids([{"role": "system", "content": "x"}], None)


def test_bos_comes_once_by_the_tokenizers_own_rule_and_by_the_template(tmp_path):
    backend = Tokenizer.from_file(str(REFERENCE_MODEL / "tokenizer.json"))
    backend.add_special_tokens(["<s>"])
    bos = backend.token_to_id("<s>")
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    tokenizer.chat_template = "{{ bos_token }}" + TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    ids = tokenizer_of(tmp_path).encode("import os").ids
    assert ids == AutoTokenizer.from_pretrained(tmp_path)("import os").input_ids
    chat = ChatTemplate.of(tmp_path).ids([{"role": "user", "content": "import os"}], None)
    assert [found.index(bos) for found in (ids, chat)] == [0, 0]
    assert [found.count(bos) for found in (ids, list(chat))] == [1, 1]


def copied(folder, name, content):
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(REFERENCE_MODEL / file, folder)
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a model configuration"),
        (b"[]", "holds a list"),
        (b'{"model_type": "mine", "auto_map": {"AutoConfig": "c.C"}}', "type 'mine' is not known"),
        (b'{"model_type": "llama", "dtype": "float7"}', "'float7', where it is a number format"),
    ],
)
def test_a_damaged_configuration_is_refused_before_a_server_starts(tmp_path, content, said):
    place = str(copied(tmp_path, "config.json", content))
    with pytest.raises(NotAModel, match=said):
        launch_for("torch", place, name=NAME, port=1, device="cpu", cache=tmp_path, tell=str)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", b'{"version": "1.0", "model"', "The tokenizer of .* cannot be read"),
        ("tokenizer_config.json", b"[1]", r"tokenizer_config\.json cannot be read|tokenizer of .* cannot be read"),
        (
            "chat_template.jinja",
            b"{% for m in messages %}{{ m.content }}",
            "The chat template of .* is damaged: Unexpected end of template",
        ),
        ("generation_config.json", b'{"a":', r"generation_config\.json cannot be read"),
        ("generation_config.json", b"[]", r"generation_config\.json cannot be read"),
        ("generation_config.json", b'{"eos_token_id": "end"}', r"generation_config\.json cannot be read"),
    ],
)
def test_a_damaged_file_beside_the_weights_is_named(tmp_path, name, content, said):
    folder = copied(tmp_path, name, content)
    with pytest.raises(NotAModel, match=said):
        ChatTemplate.of(folder), tokenizer_of(folder), eos_ids(folder)


@pytest.mark.parametrize("words", [{}, {"?": 0}])
def test_a_tokenizer_that_finds_no_words_serves_nothing(tmp_path, words):
    tokenizer = json.loads((REFERENCE_MODEL / "tokenizer.json").read_text())
    tokenizer["model"] |= {"vocab": words, "merges": [], "unk_token": "?" if words else None}
    tokenizer["added_tokens"] = []
    folder = copied(tmp_path, "tokenizer.json", json.dumps(tokenizer).encode())
    with pytest.raises(NotAModel, match="no tokenizer that can read text"):
        tokenizer_of(folder)


@pytest.mark.parametrize(("is_clear", "refused"), [(True, True), (False, False)])
def test_a_model_that_continuous_batching_gets_wrong_is_refused_unless_it_is_a_tie(is_clear, refused):
    reference = Reference(prompt=(1,), tokens=(5, 6, 7), is_clear=(True, is_clear, True))
    require_same_tokens(reference, (5, 6, 7), architecture="X")
    if refused:
        with pytest.raises(NotAvailable, match="X: token 2"):
            require_same_tokens(reference, (5, 9, 7), architecture="X")
    else:
        require_same_tokens(reference, (5, 9, 7), architecture="X")


def events(*texts):
    for i, text in enumerate(texts, start=1):
        yield TokenEvent(at_s=0.0, text=text, n_output_tokens=i, finish_reason="length" if i == len(texts) else None)


@pytest.mark.parametrize(
    ("texts", "stops", "shown"),
    [
        (("ab", "cd", "ef"), ("cde",), "ab"),
        (("ab", "ab", "c"), ("abc",), "ab"),
        (("ab", "a"), ("abc",), "aba"),
        (("a", "b", "c"), ("c", "b"), "a"),
        (("a", "b"), (), "ab"),
    ],
)
def test_text_is_held_back_only_while_it_could_be_a_stop_string(texts, stops, shown):
    assert "".join(e.text for e in until_stop(events(*texts), stops)) == shown


def test_a_wish_of_ids_is_what_the_engine_gets(served):
    ids = served.server.engine.tokenize(PROMPT)
    direct = list(served.server.engine.generate(Generation(prompt=ids, max_tokens=8)))
    assert "".join(e.text for e in direct) == text_of(served.complete())
