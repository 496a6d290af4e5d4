"""A server that answers as vLLM does, and sleeps: ``python sleepy_server.py PORT FAULT``; what it does wrong is named by the fault."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

FAULT = sys.argv[2]
asleep = set()
n_woken = [0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"{}", kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/is_sleeping" and FAULT != "no endpoints":
            self.reply(200, json.dumps({"is_sleeping": bool(asleep)}).encode())
        else:
            self.reply(200 if self.path == "/health" else 404)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if url.path == "/v1/completions":
            self.answer()
        elif FAULT == "no endpoints":
            self.reply(404)
        elif url.path == "/sleep":
            asleep.update({"weights", "kv_cache"} if FAULT != "awake" else set())
            self.reply(200)
        elif url.path == "/wake_up":
            self.wake(parse_qs(url.query).get("tags", ["weights", "kv_cache"]))
        else:
            self.reply(200 if url.path in ("/collective_rpc", "/reset_prefix_cache") else 404)

    def wake(self, tags):
        if FAULT == "dies":
            os._exit(3)
        if FAULT == "memory":
            self.reply(500, b"CUDA out of memory")
            return
        if FAULT != "sleeps on":
            asleep.difference_update(tags)
        n_woken[0] += 1
        self.reply(200)

    def answer(self):
        if FAULT == "mute":
            os._exit(3)
        text = "other" if FAULT == "other" and n_woken[0] else "same"
        event = {"choices": [{"text": text, "token_ids": [7], "finish_reason": "length"}]}
        self.reply(200, f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode(), "text/event-stream")


if FAULT == "ends":
    sys.exit("RuntimeError: no memory")
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
