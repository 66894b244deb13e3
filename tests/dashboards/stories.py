"""What was measured, and which alert fires of it: told in promtool's notation.

`0+5x90` starts at 0 and grows by 5 each minute, 90 times; `_` is a sample that is missing, `stale`
the end of a series: what is scraped no longer has it, or cannot be scraped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB = 'namespace="prod",job="cardan"'
GATEWAY = f'{JOB},pod="gateway-0",instance="a:9090"'
SLO = "cardan_slo_requests_total"


def _slo(met: str, missed: str) -> dict[str, str]:
    return {
        f'{SLO}{{{GATEWAY},model="m",met="true"}}': met,
        f'{SLO}{{{GATEWAY},model="m",met="false"}}': missed,
    }


def _requests(**outcomes: str) -> dict[str, str]:
    name = "cardan_requests_total"
    return {
        f'{name}{{{GATEWAY},api="chat",model="m",outcome="{outcome.replace("_", "-")}"}}': values
        for outcome, values in outcomes.items()
    }


def _endpoints(routable: str, which: str = "routable", model: str = "m") -> dict[str, str]:
    series = f'cardan_fleet_endpoints{{{GATEWAY},model="{model}",which="{which}"}}'
    return {series: routable}


def _gauge(name: str, values: str, labels: str = "") -> dict[str, str]:
    return {f"{name}{{{GATEWAY}{',' if labels else ''}{labels}}}": values}


def _cached(predicted: str, actual: str, of: str) -> dict[str, str]:
    series = {"predicted_total": predicted, "actual_total": actual, "prompt_total": of}
    return {
        f'cardan_cached_tokens_{name}{{{GATEWAY},endpoint="e"}}': values
        for name, values in series.items()
    }


def _ttft(predicted: str, actual: str) -> dict[str, str]:
    series = {"predicted": predicted, "actual": actual}
    return {
        f'cardan_ttft_{name}_seconds_total{{{GATEWAY},endpoint="e"}}': values
        for name, values in series.items()
    }


def _build(values: str) -> dict[str, str]:
    return _gauge("cardan_build_info", values, 'version="1",python="3",policy="dualmap"')


BUILD = _build("1x120")


class Story(NamedTuple):
    """What was measured, when it is looked at, and the labels of what fires (None: silence)."""

    alert: str
    told: str
    series: Mapping[str, str]
    at: str
    fires: Mapping[str, str] | None


MODEL = {"model": "m"}
ENDPOINT = {"endpoint": "e"}
INSTANCE = {"instance": "a:9090", "pod": "gateway-0"}
STORIES = (
    Story(
        "CardanTtftBudgetBurnsFast",
        "one stream in five is late for an hour",
        _slo("0+80x120", "0+20x120"),
        "70m",
        MODEL,
    ),
    Story(
        "CardanTtftBudgetBurnsFast",
        "one in a hundred is late: that is what was promised",
        _slo("0+99x120", "0+1x120"),
        "70m",
        None,
    ),
    Story(
        "CardanTtftBudgetBurnsFast",
        "it was bad for half an hour, and is over for ten minutes",
        _slo("0+80x30 2480+100x60", "0+20x30 600x60"),
        "45m",
        None,
    ),
    Story(
        "CardanTtftBudgetBurnsFast",
        "three requests in an hour, one late",
        _slo("0 1x10 2x60", "0x30 1x60"),
        "70m",
        None,
    ),
    Story(
        "CardanTtftBudgetBurnsSlowly",
        "one in twenty is late for hours",
        _slo("0+95x200", "0+5x200"),
        "3h",
        MODEL,
    ),
    Story(
        "CardanTtftBudgetBurnsSlowly",
        "one in fifty is late for hours: twice the pace, not three times",
        _slo("0+98x200", "0+2x200"),
        "3h",
        None,
    ),
    Story(
        "CardanRequestsNotServed",
        "a tenth are shed",
        _requests(ok="0+90x30", shed="0+10x30"),
        "20m",
        MODEL,
    ),
    Story(
        "CardanRequestsNotServed",
        "half are wrong or given up by the client, which is not our failure",
        _requests(ok="0+50x30", client_error="0+25x30", client_left="0+20x30", invalid="0+5x30"),
        "20m",
        None,
    ),
    Story(
        "CardanRequestsNotServed",
        "one request a minute, and none is served",
        _requests(ok="0x40", reset="0+1x40"),
        "30m",
        MODEL,
    ),
    Story(
        "CardanRequestsNotServed",
        "one request a minute, one in five fails: a reason to look in the morning",
        _requests(ok="0+0.8x40", reset="0+0.2x40"),
        "30m",
        None,
    ),
    Story(
        "CardanGatewayFaults",
        "the very first one, whose series begins with it",
        _requests(ok="0+10x30", internal="_x20 1x10"),
        "22m",
        {},
    ),
    Story(
        "CardanGatewayFaults",
        "a gateway that has just started, and counts from zero",
        _requests(ok="_x20 0+10x10", internal="_x20 0x10"),
        "22m",
        None,
    ),
    Story(
        "CardanGatewayFaults",
        "one that is long ago",
        _requests(ok="0+10x60", internal="1x60"),
        "30m",
        None,
    ),
    Story(
        "CardanNoEndpoint",
        "all endpoints of all models are gone",
        BUILD | _endpoints("0x9"),
        "5m",
        {},
    ),
    Story("CardanNoEndpoint", "nothing was ever discovered", BUILD, "5m", {}),
    Story(
        "CardanNoEndpoint",
        "one model has one",
        BUILD | _endpoints("0x9") | _endpoints("1x9", model="n"),
        "5m",
        None,
    ),
    Story(
        "CardanModelWithoutEndpoint",
        "none of one model",
        _endpoints("0x9") | _endpoints("3x9", model="n") | _endpoints("2x9", "all"),
        "5m",
        MODEL,
    ),
    Story(
        "CardanModelWithoutEndpoint",
        "its last pod is gone, and its series with it",
        BUILD | _endpoints("3x5 stale") | _endpoints("3x5 stale", "all"),
        "8m",
        MODEL,
    ),
    Story(
        "CardanModelWithoutEndpoint",
        "gone for most of an hour, while another model is served",
        BUILD | _endpoints("3x5 stale") | _endpoints("3x80", model="n"),
        "60m",
        MODEL,
    ),
    Story(
        "CardanModelWithoutEndpoint",
        "gone and back; another was taken away for good, hours ago",
        BUILD | _endpoints("3x5 stale _x5 3x100") | _endpoints("3x5 stale", model="n"),
        "80m",
        None,
    ),
    Story(
        "CardanModelWithoutEndpoint",
        "the gateways are gone: nobody knows of the models, and another alert says so",
        _build("1x5 stale") | _endpoints("3x5 stale"),
        "8m",
        None,
    ),
    Story(
        "CardanModelWithoutEndpoint",
        "the gateways are new, and their predecessors knew it too",
        BUILD
        | _endpoints("3x5 stale")
        | {
            f'cardan_fleet_endpoints{{{JOB},pod="gateway-1",model="m",which="routable"}}': "_x4 3x9"
        },
        "9m",
        None,
    ),
    Story("CardanModelWithoutEndpoint", "one is left", BUILD | _endpoints("1x9"), "5m", None),
    Story(
        "CardanGatewaysGone",
        "all of them, for minutes",
        _build("1x5 stale"),
        "8m",
        {},
    ),
    Story("CardanGatewaysGone", "all of them, for hours", _build("1x5 stale"), "5h", {}),
    Story(
        "CardanGatewaysGone",
        "one of two, then its successor comes",
        _build("1x5 stale") | {f'cardan_build_info{{{JOB},pod="gateway-1"}}': "1x20"},
        "8m",
        None,
    ),
    Story(
        "CardanGatewaysGone",
        "the only one is replaced",
        _build("1x5 stale") | {f'cardan_build_info{{{JOB},pod="gateway-1"}}': "_x6 1x20"},
        "8m",
        None,
    ),
    Story("CardanGatewaysGone", "they were taken away long ago", _build("1x5 stale"), "7h", None),
    Story(
        "CardanEndpointDown",
        "ejected for a quarter of an hour",
        _gauge("cardan_endpoint_state", "1x20", 'endpoint="e",state="ejected"'),
        "15m",
        {"endpoint": "e", "state": "ejected"},
    ),
    Story(
        "CardanEndpointDown",
        "ejected for a moment; draining for long",
        _gauge("cardan_endpoint_state", "1 1 _x18", 'endpoint="e",state="ejected"')
        | _gauge("cardan_endpoint_state", "_ _ 1x18", 'endpoint="e",state="draining"'),
        "15m",
        None,
    ),
    Story(
        "CardanDiscoveryDisconnected",
        "one worker has lost it",
        _gauge("cardan_discovery_connected", "0x20", 'worker="1"')
        | _gauge("cardan_discovery_connected", "1x20", 'worker="0"'),
        "10m",
        INSTANCE,
    ),
    Story(
        "CardanDiscoveryDisconnected",
        "lost for two minutes while the API server restarts",
        _gauge("cardan_discovery_connected", "1 1 0 0 1x20"),
        "6m",
        None,
    ),
    Story(
        "CardanDiscoverySilent",
        "not a word",
        _gauge("cardan_discovery_last_event_age_seconds", "0+60x20"),
        "15m",
        INSTANCE,
    ),
    Story(
        "CardanDiscoverySilent",
        "bookmarks",
        _gauge("cardan_discovery_last_event_age_seconds", "50x20"),
        "15m",
        None,
    ),
    Story(
        "CardanEngineMetricsStale",
        "not read for minutes",
        _gauge("cardan_scrape_age_seconds", "0+60x20", 'endpoint="e"'),
        "15m",
        ENDPOINT,
    ),
    Story(
        "CardanEngineMetricsStale",
        "read every second",
        _gauge("cardan_scrape_age_seconds", "1x20", 'endpoint="e"'),
        "15m",
        None,
    ),
    Story(
        "CardanCachePredictionsOff",
        "half of all tokens were believed cached, a tenth were",
        _cached("0+50000x120", "0+10000x120", "0+100000x120"),
        "65m",
        {},
    ),
    Story(
        "CardanCachePredictionsOff",
        "a tenth too many",
        _cached("0+50000x120", "0+40000x120", "0+100000x120"),
        "65m",
        None,
    ),
    Story(
        "CardanCachePredictionsOff",
        "far off, of a trickle",
        _cached("0+1000x120", "0x120", "0+1000x120"),
        "65m",
        None,
    ),
    Story("CardanTtftPredictionsOff", "three times", _ttft("0+10x120", "0+30x120"), "65m", {}),
    Story("CardanTtftPredictionsOff", "a third", _ttft("0+30x120", "0+10x120"), "65m", {}),
    Story("CardanTtftPredictionsOff", "well", _ttft("0+10x120", "0+12x120"), "65m", None),
    Story("CardanTtftPredictionsOff", "no requests", _ttft("5x120", "50x120"), "65m", None),
    Story(
        "CardanGatewayBusy", "full", _gauge("cardan_loop_busy_ratio", "0.95x20"), "10m", INSTANCE
    ),
    Story(
        "CardanGatewayBusy", "as it scales", _gauge("cardan_loop_busy_ratio", "0.7x20"), "10m", None
    ),
    Story("CardanQueueFull", "full", _gauge("cardan_saturation_ratio", "0.9x20"), "10m", INSTANCE),
    Story("CardanQueueFull", "a peak", _gauge("cardan_saturation_ratio", "0x9 1 0x9"), "10m", None),
    Story("CardanGatewayNotReady", "never", _gauge("cardan_ready", "0x20"), "15m", INSTANCE),
    Story("CardanGatewayNotReady", "starts", _gauge("cardan_ready", "0 0 1x20"), "15m", None),
    Story(
        "CardanReloadFailed",
        "of one worker",
        _gauge("cardan_config_last_reload_success", "0x20", 'worker="1"')
        | _gauge("cardan_config_last_reload_success", "1x20", 'worker="0"'),
        "18m",
        INSTANCE,
    ),
    Story(
        "CardanReloadFailed",
        "an old gateway, drained for five minutes, does not know what the new configuration says",
        _gauge("cardan_config_last_reload_success", "1x5 0x6 stale"),
        "11m",
        None,
    ),
    Story(
        "CardanReloadFailed",
        "repaired",
        _gauge("cardan_config_last_reload_success", "0 0 1x20"),
        "10m",
        None,
    ),
    Story(
        "CardanTasksRestart",
        "every minute",
        _gauge("cardan_task_restarts_total", "0+1x20", 'task="probe"'),
        "15m",
        {"task": "probe"},
    ),
    Story(
        "CardanTasksRestart",
        "once",
        _gauge("cardan_task_restarts_total", "0x5 1x20", 'task="probe"'),
        "15m",
        None,
    ),
)
