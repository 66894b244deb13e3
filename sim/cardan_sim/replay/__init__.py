"""`cardan replay`: a recorded workload against any OpenAI endpoint, open loop, measured.

Open loop means that a request leaves when the trace says so, whether or not earlier ones were
answered: users do not wait for each other. Every latency counts from the moment the request was
due, so a client that falls behind cannot flatter the server; how far it fell behind is reported
beside the result.

`schedule` says when, `openloop` sends, `client` and `stream` speak the protocol and take the
times, `report` makes figures of them, `table`, `page` and `plots` show figures.
"""
