"""The gRPC front door: another language for the same requests.

A call becomes the OpenAI body that an HTTP client would have sent, is admitted and driven by the
same `Gateway` and `Flight`, and the engine's JSON answer becomes messages again. Nothing is decided
here. `requests` and `responses` translate, `errors` maps failures onto google.rpc statuses,
`inference` and `routing` are the two services, `server` is the port.
"""
