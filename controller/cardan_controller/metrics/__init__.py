"""What gateways counted, asked of a Prometheus or of the gateways themselves.

`asks` says what is wanted, `promql` puts it in Prometheus' words and `history` answers it from
scrapes kept here: two evaluators of one catalogue, held to the same answers by a test against a
real Prometheus.
"""
