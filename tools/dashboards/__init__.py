"""Dashboards and alerts, made from the metric registry.

`promql` builds queries from metric specifications, so a query cannot name a metric or a label that
the gateway does not export; `grafana` lays panels out; `fleet` is the dashboard (its rows are in
`serving` and `engines`), `alerts` are the rules. `python -m tools.gen_dashboards` writes what the
chart ships, `python -m tools.dashboards.preview` draws a dashboard without Grafana.
"""
