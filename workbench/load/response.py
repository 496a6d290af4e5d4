"""One HTTP/1.1 response as its bytes come in: informational responses, framing, content codings (RFC 9110 and 9112)."""

import zlib
from collections.abc import Callable
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

CODINGS = {"gzip", "x-gzip", "deflate", "br", "identity", ""}


class _Decoder(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


class ResponseReader:
    """Reads one final response and hands its decoded body on, piece by piece.

    Args:
        on_body: Called with each piece of the body.
    """

    __slots__ = (
        "_decoders", "_head", "_is_final", "_length_known", "_on_body", "_parser", "has_head", "headers", "is_complete", "keeps_alive", "status",
    )  # fmt: skip

    def __init__(self, on_body: Callable[[bytes], None]) -> None:
        self._on_body = on_body
        self._decoders: list[_Decoder] = []
        self._is_final = self._length_known = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.has_head = self.is_complete = False
        self.keeps_alive = False
        self._parser = _parser(self)
        self._head: bytearray | None = bytearray()  # as it came; None once it has been read

    def feed(self, data: bytes) -> None:
        """Take what has arrived; raises ``ValueError`` for what is not HTTP or cannot be decoded."""
        if self._head is not None:
            self._head += data
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            raise ValueError("the server wants to switch protocols") from error
        except HttpParserError as error:
            if self._head is not None and (repaired := _repaired(bytes(self._head))) is not None:
                self._head, self._parser, self.headers = None, _parser(self), {}
                self.feed(repaired)
                return
            if not self.is_complete:  # bytes after a complete response belong to nobody
                cause = error.__context__
                raise ValueError(str(cause) if isinstance(cause, _Undecodable) else f"not HTTP: {error}") from error
            self.keeps_alive = False
        except zlib.error as error:
            raise ValueError(f"the compressed body is damaged: {error}") from error

    def ends(self) -> bool:
        """Return whether a response is complete that its connection has ended: one of unknown length is."""
        if self.has_head and not self._length_known:
            self.is_complete = True
        return self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which is left out."""
        if not self.has_head:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        """Take the end of the headers."""
        self.status = self._parser.get_status_code()
        self._is_final = self.status >= 200
        if not self._is_final:
            self.headers = {}
            return
        self.has_head, self._head = True, None
        self.keeps_alive = self._parser.should_keep_alive()
        headers = self.headers
        self._length_known = (
            "chunked" in headers.get("transfer-encoding", "").lower()
            or "content-length" in headers
            or self.status in {204, 304}
        )
        codings = f"{headers.get('content-encoding', '')},{headers.get('transfer-encoding', '')}".lower().split(",")
        self._decoders = [
            _decoder(n.strip()) for n in reversed(codings) if n.strip() not in {"", "identity", "chunked"}
        ]

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        for decoder in self._decoders:
            try:
                data = decoder.decompress(data)
            except Exception as error:
                raise _Undecodable(f"the compressed body is damaged: {error}") from error
        if data:
            self._on_body(data)

    def on_message_complete(self) -> None:
        """Take the end of the response, if it is the final one."""
        self.is_complete = self._is_final


def _parser(reader: ResponseReader) -> HttpResponseParser:
    parser = HttpResponseParser(reader)
    parser.set_dangerous_leniencies(  # what other clients take from servers, RFC 9112 sections 2.2, 5.2 and 6.3
        lenient_headers=True,
        lenient_chunked_length=True,
        lenient_optional_cr_before_lf=True,
        lenient_optional_lf_after_cr=True,
        lenient_spaces_after_chunk_size=True,
        lenient_transfer_encoding=True,
        lenient_data_after_close=True,
    )
    return parser


def _repaired(data: bytes) -> bytes | None:
    """Return a response whose head the parser refuses as clients have to read it; None where nothing can be mended.

    Blanks before a colon belong to no name (RFC 9112, section 5.1), and a length that is said several times counts once, if it is
    always the same (RFC 9110, section 8.6).
    """
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        return None
    lines, lengths = [], set[bytes]()
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name.rstrip().lower() == b"content-length":
            lengths |= {v.strip() for v in value.split(b",")}
        elif not line.startswith(b"HTTP/") and not line.startswith((b" ", b"\t")):
            lines.append(name.rstrip() + colon + value)
        else:
            lines.append(line)
    if len(lengths) > 1:
        return None
    lines += [b"Content-Length: " + n for n in lengths]
    mended = b"\r\n".join(lines) + blank + body
    return mended if mended != data else None


class _Undecodable(ValueError):
    """A body in a coding that cannot be undone."""


class _Inflate:
    """Undoes gzip and deflate, the latter with and without the zlib header that some servers leave out."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=47)
        self._is_first = True

    def decompress(self, data: bytes) -> bytes:
        try:
            out = self._inner.decompress(data)
        except zlib.error:
            if not self._is_first:
                raise
            self._inner = zlib.decompressobj(wbits=-15)
            out = self._inner.decompress(data)
        self._is_first = False
        while self._inner.eof and self._inner.unused_data:  # several members after one another, RFC 1952 section 2.2
            rest, self._inner = self._inner.unused_data, zlib.decompressobj(wbits=47)
            out += self._inner.decompress(rest)
        return out


def _decoder(name: str) -> _Decoder:
    if name in {"gzip", "x-gzip", "deflate"}:
        return _Inflate()
    if name == "br":
        try:
            import brotli
        except ImportError as error:
            raise _Undecodable("the server compresses with br, unasked: pip install brotli reads it") from error
        return _Brotli(brotli.Decompressor())
    raise _Undecodable(f"the server compresses its answer with {name!r}, unasked")


class _Brotli:
    def __init__(self, inner: object) -> None:
        self._inner = inner

    def decompress(self, data: bytes) -> bytes:
        process = getattr(self._inner, "process", None) or getattr(self._inner, "decompress")  # noqa: B009
        out: bytes = process(data)
        return out
