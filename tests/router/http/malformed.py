"""HTTP as it must not be: framing that two parsers read differently, and heads, chunks, paths and
bodies that nobody sends by mistake. Each case has a name.
"""

from __future__ import annotations

import json

from tests.fakes.client import chat, post

P = "/v1/chat/completions"
BODY = json.dumps(chat()).encode()
N = len(BODY)
# A whole request that an attacker wants to be read as a second one.
SMUGGLED = post(chat("smuggled"))


def head(*lines: str, start: str = f"POST {P} HTTP/1.1") -> bytes:
    """A head with a Host and these lines."""
    return "\r\n".join([start, "host: gateway", *lines, "", ""]).encode("latin-1")


CL = f"content-length: {N}"
TE = "transfer-encoding: chunked"
CHUNKED = b"%x\r\n" % N + BODY + b"\r\n0\r\n\r\n"

FRAMING: dict[str, bytes] = {
    "length and chunked": head(CL, TE) + CHUNKED,
    "chunked and length": head(TE, CL) + CHUNKED,
    "two equal lengths": head(CL, CL) + BODY,
    "two different lengths": head(CL, "content-length: 0") + BODY,
    "a list of lengths": head(f"content-length: {N}, {N}") + BODY,
    "a length with a plus": head(f"content-length: +{N}") + BODY,
    "a negative length": head("content-length: -1") + BODY,
    "a hexadecimal length": head(f"content-length: 0x{N:x}") + BODY,
    "a length with a space in it": head("content-length: 1 0") + BODY,
    "an empty length": head("content-length:") + BODY,
    "a length of other digits": head("content-length: \xb2") + BODY,
    "a length beyond 64 bits": head("content-length: 99999999999999999999") + BODY,
    "a length with an underscore": head("content-length: 1_0") + BODY,
    "a space before the colon": head(f"content-length : {N}") + BODY,
    "a tab before the colon": head(f"transfer-encoding\t: chunked\r\n{CL}") + BODY,
    "xchunked": head("transfer-encoding: xchunked") + CHUNKED,
    "chunked twice": head(TE, TE) + CHUNKED,
    "chunked, identity": head("transfer-encoding: chunked, identity") + CHUNKED,
    "identity, chunked": head("transfer-encoding: identity, chunked") + CHUNKED,
    "gzip, chunked": head("transfer-encoding: gzip, chunked") + CHUNKED,
    "chunked in quotes": head('transfer-encoding: "chunked"') + CHUNKED,
    "a vertical tab before chunked": head("transfer-encoding: \x0bchunked") + CHUNKED,
    "chunked with a NUL": head("transfer-encoding: chunked\x00") + CHUNKED,
    "an empty transfer-encoding": head("transfer-encoding:", CL) + BODY,
    "chunked in HTTP/1.0": head(TE, start=f"POST {P} HTTP/1.0") + CHUNKED,
    "chunked after a folded line": head("x: y\r\n transfer-encoding: chunked", CL) + BODY,
}

CHUNKS: dict[str, bytes] = {
    "no digits": b";\r\n",
    "letters": b"zz\r\nab\r\n0\r\n\r\n",
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a space first": b" 5\r\nhello\r\n0\r\n\r\n",
    "a space after": b"5 \r\nhello\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\nhello\r\n0\r\n\r\n",
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "longer than its size": b"3\r\nhello\r\n0\r\n\r\n",
    "shorter than its size": b"7\r\nhello\r\n0\r\n\r\n",
    "a bare LF after the payload": b"5\r\nhello\n0\r\n\r\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a size over the limit": b"fffffff\r\nhello",
    "an endless extension": b"5;" + b"x" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
    "a control character in an extension": b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "extensions that outweigh": (b"1;" + b"x" * 2000 + b"\r\na\r\n") * 40 + b"0\r\n\r\n",
    "a trailer without a colon": b"0\r\nnonsense\r\n\r\n",
    "too many trailers": b"0\r\n" + b"a: b\r\n" * 100 + b"\r\n",
    "a trailer with a NUL": b"0\r\na: \x00\r\n\r\n",
}

HEADS: dict[str, bytes] = {
    "a bare LF as line end": f"POST {P} HTTP/1.1\nhost: g\n{CL}\n\n".encode() + BODY,
    "one bare LF": f"POST {P} HTTP/1.1\r\nhost: g\n{CL}\r\n\r\n".encode() + BODY,
    "a bare CR": f"POST {P} HTTP/1.1\r\nhost: g\rx: y\r\n{CL}\r\n\r\n".encode() + BODY,
    "a folded header": head("x: a\r\n b", CL) + BODY,
    "a fold before the first header": f"POST {P} HTTP/1.1\r\n x: y\r\n\r\n".encode(),
    "a NUL in a value": head("x: a\x00b", CL) + BODY,
    "a NUL in a name": head("x\x00y: b", CL) + BODY,
    "DEL in a value": head("x: a\x7fb", CL) + BODY,
    **{
        f"a separator {byte:#04x} in a value": head(
            "connection: x-hop", f"x: a{byte:c}x-hop: 1", CL
        )
        + BODY
        for byte in (0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x1F)
    },
    "no colon": head("nonsense", CL) + BODY,
    "an empty name": head(": value", CL) + BODY,
    "a name with a space": head("x y: z", CL) + BODY,
    "a name beyond ASCII": head("n\xe4me: z", CL) + BODY,
    "two hosts": head("host: other", CL) + BODY,
    "no host": f"POST {P} HTTP/1.1\r\n{CL}\r\n\r\n".encode() + BODY,
    "two content types": head("content-type: a/b", "content-type: c/d", CL) + BODY,
    "two authorizations": head("authorization: Bearer a", "authorization: Bearer b", CL) + BODY,
    "too many headers": head(*(f"x-{i}: y" for i in range(200)), CL) + BODY,
    "a giant header": head("x: " + "y" * 70_000, CL) + BODY,
    "a giant target": head(CL, start=f"POST /{'y' * 70_000} HTTP/1.1") + BODY,
    "an endless head": b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000,
    "no version": head(CL, start=f"POST {P}") + BODY,
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": head(CL, start=f"POST {P} HTTP/2.0") + BODY,
    "HTTP/1.2": head(CL, start=f"POST {P} HTTP/1.2") + BODY,
    "http in lower case": head(CL, start=f"POST {P} http/1.1") + BODY,
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
    "two spaces in the request line": head(CL, start=f"POST  {P} HTTP/1.1") + BODY,
    "a tab in the request line": head(CL, start=f"POST\t{P} HTTP/1.1") + BODY,
    "a space at the end of the request line": head(CL, start=f"POST {P} HTTP/1.1 ") + BODY,
    "a method in lower case": head(CL, start=f"post {P} HTTP/1.1") + BODY,
    "a method with a colon": head(CL, start=f"PO:ST {P} HTTP/1.1") + BODY,
    "an unknown method": head(CL, start=f"BREW {P} HTTP/1.1") + BODY,
    "CONNECT": head(start="CONNECT engine:8000 HTTP/1.1"),
    "a target with a control character": head(CL, start=f"POST {P}\x01 HTTP/1.1") + BODY,
    "a target beyond ASCII": head(CL, start=f"POST {P}\xe4 HTTP/1.1") + BODY,
    "a target with a fragment": head(CL, start=f"POST {P}#x HTTP/1.1") + BODY,
    "a target without a slash": head(CL, start="POST v1/chat/completions HTTP/1.1") + BODY,
    "an authority in a query": head(CL, start="POST http://a@b/c HTTP/1.1") + BODY,
    "another scheme": head(CL, start="POST file:///etc/passwd HTTP/1.1") + BODY,
    "nonsense": b"\xff\xfe\xfd nonsense\r\n\r\n",
}

# Framed well, so that the connection may live on, but nothing that is done here.
UNWANTED: dict[str, tuple[int, bytes]] = {
    "DELETE": (405, head(CL, start=f"DELETE {P} HTTP/1.1") + BODY),
    "TRACE": (405, head(start=f"TRACE {P} HTTP/1.1")),
    "another expectation": (417, head("expect: 200-ok", CL) + BODY),
    "a compressed body": (415, head("content-encoding: gzip", CL) + BODY),
}

PATHS: dict[str, bytes] = {
    path: post(BODY, path)
    for path in (
        "/flush_cache",
        "/abort_request",
        "/server_info",
        "/sleep",
        "/reset_prefix_cache",
        "/collective_rpc",
        "/v1/load_lora_adapter",
        "/pd_role_switch",
        "/generate",
        "/invocations",
        "/metrics",
        "/v1/chat/completions/",
        "/v1/chat/completions/../../flush_cache",
        "/v1/chat/completions%2f..%2f..%2fflush_cache",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/./v1/chat/completions",
        "/v1/chat%2Fcompletions",
        "/V1/chat/completions",
        "/v1/models/../chat/completions",
        "/v1/models/m",
    )
}

BODIES: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"model=m",
    "half an object": BODY[:-3],
    "two objects": BODY + BODY,
    "an array": b"[" + BODY + b"]",
    "a string": b'"hello"',
    "null": b"null",
    "NaN": b'{"model": "m", "temperature": NaN}',
    "invalid UTF-8": b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "a lone surrogate": b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "nested deeply": b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a byte order mark": b"\xef\xbb\xbf" + BODY,
    "UTF-16": json.dumps(chat()).encode("utf-16"),
    "a control character in a string": b'{"model": "m\x01"}',
    "a model that is no string": b'{"model": 7, "messages": []}',
    "messages that are no list": b'{"model": "m", "messages": "hi"}',
    "messages of no objects": b'{"model": "m", "messages": [1, 2]}',
    "an unknown model": b'{"model": "other", "messages": [{"role": "user", "content": "x"}]}',
}

RAW = {
    **{f"framing: {name}": data for name, data in FRAMING.items()},
    **{f"chunks: {name}": head(TE) + data for name, data in CHUNKS.items()},
    **{f"head: {name}": data for name, data in HEADS.items()},
}

EARLY = {
    "a length": head("content-length: 67108865"),
    "a length with an expectation": head("content-length: 67108865", "expect: 100-continue"),
}
