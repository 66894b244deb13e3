"""Dashboards and alerts, made from the metric registry.

`promql` builds queries from metric specifications, so a query cannot name a metric or a label that
nobody exports; `grafana` lays panels out; `fleet` is the gateways' dashboard (its rows are in
`serving` and `engines`), `operator` the operator's; `alerts` and `operator_alerts` are the rules.
`python -m tools.gen_dashboards` writes what the chart ships, `python -m tools.dashboards.preview`
draws a dashboard without Grafana.
"""
