"""What servers may do by the rules of HTTP, event streams and OpenAI's interface, or do against them as reports say."""

import gzip
from dataclasses import dataclass

from support.raw_server import (
    CHUNKED,
    DONE,
    HEAD,
    PLAIN,
    SSE,
    STOP,
    Write,
    choice,
    compressed,
    each,
    early_answer,
    events_on_lines,
    framed,
    json_lines,
    line_ends_of_all_kinds,
    never_closes_the_last_chunk,
    of_length,
    one_byte_at_a_time,
    parts_as_messages,
    reset,
    response_at_once,
    response_events,
    several_in_one_write,
    streamed,
    two_choices,
    usage,
    usage_of_one_each,
    usage_of_zeros,
    usage_without_numbers,
    verbatim,
    whole_document,
    wrapped,
)


@dataclass(frozen=True)
class Behaviour:
    """How a server answers, and what is right to make of it."""

    rule: str
    write: Write
    cause: str = ""
    """Part of the error; "" for an answer that counts."""
    tokens: int | None = None
    """Counted by the client, where that is not what the server wrote."""
    endpoint: str = "chat"


FINISH_STOP = {"choices": [{"index": 0, "delta": {}, "message": {"content": " w0 w1 w2"}, "finish_reason": "stop"}]}
LONG = ": " + "x" * 300_000 + "\n\n"
DELTA = "response.output_text.delta"
DONE_EVENT = (
    "response.completed",
    {"response": {"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2}}},
    0,
)
RESPONSE = {"status": "completed", "output": [{"content": [{"text": "a b"}]}], "usage": {"output_tokens": 2}}
CHUNKED_HEAD = HEAD + SSE + CHUNKED
TOOL = {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]}

BEHAVIOURS = {
    # RFC 9112: framing
    "chunk sizes in upper case with extensions": Behaviour("RFC 9112, 7.1", framed(SSE + CHUNKED)),
    "content length": Behaviour("RFC 9112, 6.3", framed(SSE + "Content-Length: LENGTH\r\n")),
    "no length, ends with the connection": Behaviour(
        "RFC 9112, 6.3", framed(SSE + "Connection: close\r\n", closes=True)
    ),
    "names of fields in other cases": Behaviour(
        "RFC 9110, 5.1", framed("content-TYPE: TEXT/event-stream\r\nCONTENT-length:LENGTH\r\n")
    ),
    "a field on two lines": Behaviour("RFC 9112, 5.2", framed(SSE + "X-A: one\r\n two\r\n" + CHUNKED)),
    "compressed by the transfer": Behaviour(
        "RFC 9112, 7.2", framed(SSE + "Transfer-Encoding: gzip, chunked\r\n", encode=gzip.compress)
    ),
    "compressed twice": Behaviour(
        "RFC 9110, 8.4",
        framed(SSE + "Content-Encoding: gzip, gzip\r\n" + CHUNKED, encode=lambda b: gzip.compress(gzip.compress(b))),
    ),
    "an unknown coding": Behaviour("RFC 9110, 8.4.1", framed(SSE + "Content-Encoding: exotic\r\n" + CHUNKED), "exotic"),
    "the length says less": Behaviour(
        "RFC 9112, 6.3", framed(SSE + "Content-Length: 150\r\n"), "without finish_reason"
    ),
    "the length says more": Behaviour(
        "RFC 9112, 8: the answer itself is whole", framed(SSE + "Content-Length: 9999\r\n", closes=True)
    ),
    "no last chunk after DONE": Behaviour("RFC 9112, 8: the answer itself is whole", never_closes_the_last_chunk),
    "interim responses": Behaviour("RFC 9110, 15.2", early_answer),
    "not HTTP": Behaviour("RFC 9112, 2.1", whole_document(b"", status="SSH-2.0-OpenSSH_9\r\n\r\n"), "not HTTP"),
    "a status line without a reason": Behaviour("RFC 9112, 4", verbatim(f"HTTP/1.1 200\r\n{CHUNKED}\r\n")),
    "an empty line before the status": Behaviour("RFC 9112, 2.2", verbatim("\r\n" + CHUNKED_HEAD + "\r\n")),
    "a blank before a colon": Behaviour("RFC 9112, 5.1", verbatim(CHUNKED_HEAD + "X-A : 1\r\n\r\n")),
    "the length twice": Behaviour("RFC 9110, 8.6", of_length("Content-Length: LENGTH\r\nContent-Length: LENGTH\r\n")),
    "the length as a list": Behaviour("RFC 9110, 8.6", of_length("Content-Length: LENGTH, LENGTH\r\n")),
    "two lengths": Behaviour("RFC 9110, 8.6", of_length("Content-Length: LENGTH, 7\r\n"), "Content-Length"),
    "chunks and a length": Behaviour("RFC 9112, 6.3", verbatim(CHUNKED_HEAD + "Content-Length: 5\r\n\r\n")),
    "quoted extensions of chunks": Behaviour(
        "RFC 9112, 7.1.1", verbatim(CHUNKED_HEAD + "\r\n", extension=b';a="b;c";d')
    ),
    "trailers": Behaviour(
        "RFC 9110, 6.5", verbatim(CHUNKED_HEAD + "\r\n", ends=b"0\r\nServer-Timing: a;dur=3\r\nX-B: 1\r\n\r\n")
    ),
    "another protocol is offered": Behaviour(
        "RFC 9110, 7.8", verbatim(CHUNKED_HEAD + "Upgrade: h2,h2c\r\nConnection: Upgrade\r\n\r\n")
    ),
    "no content": Behaviour("RFC 9110, 15.3.5", whole_document(b"", "", "HTTP/1.1 204 No Content\r\n"), "204"),
    "moved for good": Behaviour(
        "RFC 9110, 15.4.2: a client may not repeat a POST",
        whole_document(b"", "Location: /x\r\n", "HTTP/1.1 301 X\r\n"),
        "301",
    ),
    "sent on in a circle": Behaviour(
        "RFC 9110, 15.4", whole_document(b"", "Location: /v1/chat/completions\r\n", "HTTP/1.1 308 X\r\n"), "308"
    ),
    "misdirected": Behaviour("RFC 9110, 15.5.20", whole_document(b"bad", "", "HTTP/1.1 421 X\r\n"), "421: bad"),
    "reset after the end": Behaviour("RFC 9112, 8: the answer itself is whole", reset(STOP, usage(3), DONE)),
    "reset in the middle": Behaviour("RFC 9112, 8", reset(), "in the middle"),
    "gzip without its trailer": Behaviour("RFC 1952: the answer itself is whole", compressed(ends=True)),
    "gzip cut in the middle": Behaviour("RFC 1952", compressed(ends=False), "without finish_reason"),
    "JSON lines": Behaviour("servers that stream JSON lines", json_lines),
    # WHATWG: event streams
    "line ends of all kinds": Behaviour("WHATWG 9.2.5", line_ends_of_all_kinds),
    "a mark of byte order in two pieces": Behaviour(
        "WHATWG 9.2.5", verbatim(CHUNKED_HEAD + "\r\n", b"\xef\xbb", b"\xbf" + PLAIN)
    ),
    "data without a colon": Behaviour("WHATWG 9.2.6", wrapped("data\n\n", "data\ndata\n\n", "id: \x00\nretry: x\n\n")),
    "a line of 1 MB": Behaviour("WHATWG 9.2", each({"content": "x" * 1_000_000}, {"content": "y"})),
    "one byte at a time, CRLF": Behaviour("WHATWG 9.2.5", one_byte_at_a_time),
    "several events in one write": Behaviour("WHATWG 9.2.5", several_in_one_write),
    "comments, ids, retry": Behaviour("WHATWG 9.2.6", wrapped(": hi\nid: 1\nretry: 10\n\n", ":\n\n", "id: 9\n\n: bye")),
    "a long comment": Behaviour("WHATWG 9.2.6", wrapped(LONG, LONG)),
    "an event without data": Behaviour("WHATWG 9.2.6", wrapped("event: ping\n\n", "data\n\n")),
    "an unknown field": Behaviour("WHATWG 9.2.6", wrapped("queue: 3\n\n", "x-progress: 50\n\n")),
    "heartbeats that are no JSON": Behaviour(
        "anthropics/pings, sse-starlette",
        wrapped("event: ping\ndata: 2026-11-30 10:00\n\n", "event: heartbeat\ndata:\n\n"),
    ),
    "a status event": Behaviour(
        "OpenAI's client reads events without choices", wrapped({"message": "queued", "position": 3}, name="status")
    ),
    "JSON that is no object": Behaviour("WHATWG 9.2.6", wrapped("data: null\n\n", "data: 17\n\n")),
    "one line feed between events": Behaviour("vllm bench reads lines", events_on_lines),
    "text after DONE": Behaviour("OpenAI: DONE ends the stream", wrapped(after=choice(" more"))),
    "an error after DONE": Behaviour("OpenAI: DONE ends the stream", wrapped(after="data: oops\n\n")),
    # JSON as servers write it
    "NaN in logprobs": Behaviour(
        "Python's json",
        wrapped(between='data: {"choices": [{"index": 0, "delta": {}, "logprobs": [NaN, -Infinity]}]}\n\n'),
    ),
    "half a surrogate pair": Behaviour("an emoji over two tokens", each({"content": "\ud83d"}, {"content": "\ude00"})),
    "bytes that are not UTF-8": Behaviour(
        "llama.cpp 5715", wrapped(between=b'data: {"choices": [{"index": 0, "delta": {}, "note": "\xf0\x9f"}]}\n\n')
    ),
    "nested too deeply": Behaviour("RFC 8259, 9", streamed(b"data: " + b"[" * 100_000 + b"\n\n", DONE), "not JSON"),
    "numbers beyond 64 bits": Behaviour("RFC 8259, 6", wrapped(f'data: {{"choices": [], "created": {"9" * 30}}}\n\n')),
    # OpenAI's interface: chat
    "two answers by turns": Behaviour("OpenAI: n", two_choices(ended=2)),
    "two answers, of which one breaks off": Behaviour("OpenAI: n", two_choices(ended=1), "without finish_reason"),
    "parts as messages": Behaviour("servers that send message instead of delta", parts_as_messages),
    "speech": Behaviour("OpenAI: audio", each({"audio": {"id": "a", "transcript": "a"}}, {"audio": {"data": "UklG"}})),
    "usage before the end, DONE twice": Behaviour("proxies", streamed(usage(3), STOP, DONE, DONE)),
    "how things go": Behaviour(
        "gateways that report their queue",
        wrapped({"code": 0, "message": "success"}, {"status": "queued", "message": "3 before you"}),
    ),
    "an error line in brackets": Behaviour("exceptions of proxies", streamed("data: [ERROR] boom\n\n", DONE), "boom"),
    "a role, then null": Behaviour("OpenAI: chat", wrapped(choice("", role="assistant"), choice(None))),
    "filter results before and after": Behaviour(
        "Azure", wrapped({"choices": [], "prompt_filter_results": []}, {"choices": [{"content_filter_offsets": {}}]})
    ),
    "empty error fields": Behaviour(
        "OpenRouter", wrapped({"choices": [], "error": None}, {"choices": [], "error": {"message": "", "code": 0}})
    ),
    "reasoning under two names": Behaviour(
        "OpenRouter sends both", each({"reasoning": "a", "reasoning_content": "a"}, {"content": "b"})
    ),
    "tool call piece by piece": Behaviour(
        "OpenAI: chat", each(TOOL, {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, finish="tool_calls")
    ),
    "the answer once more at the end": Behaviour("MiniMax", streamed(FINISH_STOP, usage(3), DONE)),
    "finish_reason as an object": Behaviour("SGLang", each({"content": "a"}, finish={"type": "length", "length": 1})),
    "usage of zeros until the end": Behaviour("LocalAI 1194", usage_of_zeros),
    "usage of one in each chunk": Behaviour("token counts of each chunk", usage_of_one_each),
    "usage in the choice": Behaviour(
        "Moonshot",
        each(
            {"content": "ab"},
            {"content": "cd"},
            last={"choices": [{"index": 0, "delta": {}, "usage": {"completion_tokens": 4}}]},
        ),
        tokens=4,
    ),
    "usage in an extension": Behaviour(
        "Groq", each({"content": "ab"}, last={"choices": [], "x_groq": {"usage": {"completion_tokens": 6}}}), tokens=6
    ),
    "usage without numbers": Behaviour("a count that is no number is not known", usage_without_numbers),
    "no usage": Behaviour("stream_options is optional", streamed(STOP, DONE)),
    "aborted in capitals": Behaviour("gateways", each({"content": "a"}, finish="ERROR"), "error"),
    "interrupted": Behaviour("DeepSeek", each({"content": "a"}, finish="insufficient_system_resource"), "insufficient"),
    "a network error": Behaviour("Zhipu", each({"content": "a"}, finish="network_error"), "network_error"),
    "an error with DONE": Behaviour(
        "SGLang, litellm 25492",
        streamed({"error": {"message": "too many tokens", "code": 400}}, DONE),
        "too many tokens",
    ),
    "an error as msg": Behaviour("gateways", streamed({"code": 50001, "msg": "quota"}, DONE), "quota"),
    "an error without data:": Behaviour(
        "an exception in the middle of a stream",
        streamed('{"error": "runner terminated"}\n', DONE),
        "runner terminated",
    ),
    "an error of the event name": Behaviour("vLLM", streamed("event: error\ndata: engine died\n\n"), "engine died"),
    "broken off, no end": Behaviour("pi 7441", streamed(), "without finish_reason"),
    "a page": Behaviour(
        "a login page", whole_document(b"<html>Please log in</html>", "Content-Type: text/html\r\n"), "no token"
    ),
    "429 as text": Behaviour(
        "nginx",
        whole_document(b"slow down", "Retry-After: 1\r\n", "HTTP/1.1 429 Too Many Requests\r\n"),
        "429: slow down",
    ),
    "503 as a page": Behaviour(
        "HAProxy", whole_document(b"<h1>No server</h1>", "", "HTTP/1.1 503 Service Unavailable\r\n"), "No server"
    ),
    "500 as a problem": Behaviour(
        "RFC 9457", whole_document({"title": "Bad", "detail": "queue full"}, "", "HTTP/1.1 500 X\r\n"), "queue full"
    ),
    "one document": Behaviour(
        "stream ignored",
        whole_document(
            {"choices": [{"message": {"content": "a b"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}
        ),
    ),
    # Completions and responses
    "completions with tokens of no text": Behaviour(
        "vLLM: text may lag behind tokens",
        streamed({"choices": [{"index": 0, "text": "", "finish_reason": None}]}, STOP, usage(3), DONE),
        endpoint="completions",
    ),
    "responses": Behaviour(
        "OpenAI: responses",
        response_events(
            ("response.created", {"response": {"status": "in_progress", "error": None, "output": []}}, 0),
            ("response.output_item.added", {"item": {"type": "message", "content": []}}, 0),
            (DELTA, {"delta": "a"}, 1),
            (DELTA, {"delta": "b"}, 1),
            ("response.output_text.done", {"text": "ab"}, 0),
            ("response.output_item.done", {"item": {"type": "message", "content": [{"text": "ab"}]}}, 0),
            DONE_EVENT,
        ),
        endpoint="responses",
    ),
    "responses that think first": Behaviour(
        "OpenAI: responses",
        response_events(
            ("response.reasoning_summary_text.delta", {"delta": "h"}, 1), (DELTA, {"delta": "a"}, 1), DONE_EVENT
        ),
        endpoint="responses",
    ),
    "responses cut at their limit": Behaviour(
        "OpenAI: response.incomplete",
        response_events(
            (DELTA, {"delta": "a"}, 1),
            ("response.incomplete", {"response": {"status": "incomplete", "usage": {"output_tokens": 1}}}, 0),
        ),
        endpoint="responses",
    ),
    "responses that fail": Behaviour(
        "OpenAI: response.failed",
        response_events(
            (DELTA, {"delta": "a"}, 1),
            (
                "response.failed",
                {"response": {"status": "failed", "error": {"code": "server_error", "message": "sorry"}}},
                0,
            ),
        ),
        cause="sorry",
        endpoint="responses",
    ),
    "responses with an error event": Behaviour(
        "OpenAI: error",
        response_events((DELTA, {"delta": "a"}, 1), ("error", {"code": "ERR", "message": "boom", "param": None}, 0)),
        cause="boom",
        endpoint="responses",
    ),
    "responses without deltas": Behaviour(
        "OpenAI: response.completed",
        response_at_once("response.completed", {"response": RESPONSE}),
        endpoint="responses",
    ),
    "responses whose parts come whole": Behaviour(
        "OpenAI: response.output_text.done",
        response_at_once("response.output_text.done", {"text": "a b"}),
        endpoint="responses",
    ),
    "responses that are cancelled": Behaviour(
        "OpenAI: status cancelled",
        response_events((DELTA, {"delta": "a"}, 1), ("response.cancelled", {"response": {"status": "cancelled"}}, 0)),
        cause="cancelled",
        endpoint="responses",
    ),
    "responses without an end": Behaviour(
        "OpenAI: responses",
        response_events((DELTA, {"delta": "a"}, 1)),
        cause="without finish_reason",
        endpoint="responses",
    ),
}
