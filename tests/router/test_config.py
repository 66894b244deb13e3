"""The configuration: strict, with paths in its errors; flags and file are the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
import yaml
from cardan.endpoint import Endpoint, EngineKind
from cardan.errors import ConfigError
from cardan.policies import AnyPolicy, DualMap, RoundRobin
from cardan_router.config import Config, TlsConfig, keep_fixed, parse_address
from cardan_router.config_file import decode, decode_endpoints, dump, parse_yaml
from cardan_router.flags import parse
from cardan_router.limits import LimitsConfig
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def config(*argv: str) -> Config:
    """The configuration that a command line asks for."""
    return parse(list(argv)).load()


def test_two_endpoints_on_the_command_line_are_enough() -> None:
    found = config("--endpoint", "http://127.0.0.1:1/", "--endpoint", "http://127.0.0.1:2")
    assert [endpoint.url for endpoint in found.endpoints] == [
        "http://127.0.0.1:1",
        "http://127.0.0.1:2",
    ]
    assert found.listen == "127.0.0.1:8080"
    assert isinstance(found.policy, DualMap)
    found.check_complete()


def test_a_mistake_is_placed_where_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "cardan.yaml"
    path.write_text("listen: 127.0.0.1:1\nslo:\n  ttft_ms: 0\n")
    with pytest.raises(ConfigError, match=r"cardan\.yaml:3: "):
        config("--config", str(path))
    path.write_text("listen: 127.0.0.1:1\n")
    with pytest.raises(ConfigError, match=r"^command line: .*slo\.ttft_ms"):
        config("--config", str(path), "--slo-ttft-ms", "0")


def test_a_document_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cardan.yaml"
    path.write_text("slo: &a {models: *a}\n")
    with pytest.raises(ConfigError, match=r"cardan\.yaml"):
        config("--config", str(path))


def test_nothing_to_route_to_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="--endpoint URL"):
        config().check_complete()


def test_a_file_says_the_same_as_flags(tmp_path: Path) -> None:
    path = tmp_path / "cardan.yaml"
    path.write_text(
        "listen: 127.0.0.1:0\n"
        "endpoints: [http://127.0.0.1:1, {url: 'http://127.0.0.1:2', name: b, engine: sglang}]\n"
        "policy: {type: dualmap, d: 3}\n"
        "slo: {ttft_ms: 250}\n"
        "api_keys: keys.txt\n"
    )
    from_file = config("--config", str(path))
    assert from_file.endpoints[1] == Endpoint(
        url="http://127.0.0.1:2", name="b", engine=EngineKind.SGLANG
    )
    from_flags = config(
        *("--listen", "127.0.0.1:0", "--policy-option", "d=3", "--slo-ttft-ms", "250"),
        *("--api-keys", "keys.txt"),
    )
    assert msgspec.structs.replace(from_file, endpoints=()) == from_flags


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cardan.yaml"
    path.write_text("listen: 127.0.0.1:1\nslo: {ttft_ms: 250, models: {m: 100}}\nworkers: 2\n")
    found = config("--config", str(path), "--listen", "127.0.0.1:9", "--slo-ttft-ms", "300")
    assert found.listen == "127.0.0.1:9"
    assert found.workers == 2
    assert found.slo.ttft_s("m") == 0.1
    assert found.slo.ttft_s("other") == 0.3


def test_another_policy_on_the_command_line_takes_no_option_of_the_files_policy(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cardan.yaml"
    path.write_text("policy: {type: dualmap, d: 3}\n")
    assert config("--config", str(path), "--policy", "round-robin").policy == RoundRobin()
    assert config("--config", str(path), "--policy-option", "theta=1.0").policy == DualMap(
        d=3, theta=1.0
    )


def test_a_bare_off_is_the_word_and_not_what_yaml_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "cardan.yaml"
    path.write_text("log: {access: off}\n")
    assert config("--config", str(path)).log.access == "off"


def test_a_policy_may_be_just_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cardan.yaml"
    path.write_text("policy: round-robin\n")
    assert config("--config", str(path)).policy == RoundRobin()


def test_any_leaf_can_be_set_by_its_path() -> None:
    found = config("--set", "fleet.health.probe_interval_s=0.25", "--set", "log.access=off")
    assert found.fleet.health.probe_interval_s == 0.25
    assert found.log.access == "off"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers: 1\nlistne: x", r":2: .*unknown field `listne`; did you mean 'listen'\?"),
        ("policy: {type: dualmp}", r"at `\$.policy.type`; did you mean 'dualmap'\?"),
        ("policy: best", r":1: .*at `\$.policy.type`; types are dualmap, round-robin, random"),
        ("policy: {type: bounded-load, bonud: 1}", r"`\$.policy`; (did you mean|fields are)"),
        ("log:\n  access: off\n  format: jsn", r":3: .*`\$.log.format`; did you mean 'json'\?"),
        ("endpoints: [{url: 'http://h:1', engine: tgi}]", "values are auto, vllm, sglang, openai"),
        ("zzz: 1", "fields are listen, grpc, admin, workers"),
        ("policy: {type: dualmap, dd: 2}", r"unknown field `dd` - at `\$.policy`"),
        ("policy: {type: dualmap, d: 0}", r">= 1 - at `\$.policy.d`"),
        ("slo: {ttft_ms: -1}", r"> 0.* - at `\$.slo.ttft_ms`"),
        ("slo: {models: {m: fast}}", r"\$.slo.models\[...\]"),
        ("workers: two", r"\$.workers"),
        ("listen: nowhere", "'nowhere' is not HOST:PORT"),
        ("grpc: 127.0.0.1:70000", "grpc: .* no port 70000"),
        ("tls: {cert: a.pem}", r"both or none - at `\$.tls`"),
        ("endpoints: ['http://h:1', 'http://h:1/']", "two endpoints are called 'http://h:1'"),
        ("endpoints: ['http://h:1/v1']", "has a path"),
        ("endpoints: ['h:1']", "is not http://HOST:PORT"),
        ("endpoints: ['http://u:p@h:1']", "no user or password"),
        ("endpoints: [{url: 'http://h:1', weight: 0}]", r"> 0.* - at `\$.endpoints\[0\].weight`"),
        ("endpoints: [{url: 'http://h:1', engin: vllm}]", r"`engin` - at `\$.endpoints\[0\]`"),
        ("fleet: {join_ramp_s: -1}", r">= 0.* - at `\$.fleet.join_ramp_s`"),
        ("fleet: {cache_tokens: 0}", r">= 1 - at `\$.fleet.cache_tokens`"),
        ("fleet: {join_ramp_s: .inf}", r"fleet.join_ramp_s: inf is not a finite number"),
        ("slo: {models: {m: .nan}}", r"slo.models.m: nan is not a finite number"),
        ("grpc: 127.0.0.1:8080", r"listen \(127.0.0.1:8080\) and grpc \(127.0.0.1:8080\) cannot"),
        ("admin: ':8080'", r"listen \(127.0.0.1:8080\) and admin \(0.0.0.0:8080\) cannot share"),
        ("{grpc: '[::]:9', admin: '[::1]:9'}", r"grpc \(\[::\]:9\) and admin \(\[::1\]:9\)"),
        ("fleet: {block_tokens: 16}", "must be equal"),
        ("listen: a\nlisten: b", ":2:1: the key 'listen' is there twice"),
        ("a: [", ":2:1: "),
        ("- a", "a mapping is expected, not list"),
        ("listen: \x07", "not YAML"),
    ],
)
def test_a_mistake_fails_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError, match=message) as caught:
        config("--config", str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--listn", "x"], "--listn"),
        (["--workers", "0"], r"\$.workers"),
        (["--workers", "x"], r"\$.workers"),
        (["--policy", "dualmp"], r"command line: .*'dualmp'.*did you mean 'dualmap'\?"),
        (["--set", "fleet.health.probe_interval=1"], "did you mean 'probe_interval_s'"),
        (["--policy-option", "d"], "NAME=VALUE"),
        (["--set", "listen.x=1", "--listen", "h:1"], "listen is not a section"),
        (["--config", "/no/such/file"], "/no/such/file: No such file"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_sentence(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(*argv)


@pytest.mark.parametrize("policy", get_args(AnyPolicy))
def test_what_is_printed_can_be_fed_back(policy: type[Any], tmp_path: Path) -> None:
    made = config(
        *("--endpoint", "http://[::1]:9001", "--policy", str(policy.__struct_config__.tag)),
        *("--set", "slo.models={'yes': 100}", "--grpc", "[::1]:0", "--seed", "7"),
    )
    path = tmp_path / "printed.yaml"
    path.write_text(dump(made))
    assert config("--config", str(path)) == made


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:0", "::1", 0),
        (":8080", "0.0.0.0", 8080),
        ("localhost:65535", "localhost", 65535),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", "80", "h:", "h:-1", "h:65536", "::1:80", "[::1:80", "h:٣"])
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_address(text)


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    try:
        document = parse_yaml(text, "x")
        if isinstance(document, dict):
            decode(document, "x")
        decode_endpoints(document, "x")
    except ConfigError:
        pass


def numbers(kind: msgspec.inspect.Type, path: str) -> Iterator[tuple[str, msgspec.inspect.Type]]:
    """Every number in a type, with its path."""
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        yield path, kind
    for name in ("item_type", "value_type", "type"):
        inner = getattr(kind, name, None)
        if isinstance(inner, msgspec.inspect.Type):
            yield from numbers(inner, path)
    for option in getattr(kind, "types", ()):
        yield from numbers(option, path)
    for field in getattr(kind, "fields", ()):
        yield from numbers(field.type, f"{path}.{field.name}")


def test_every_number_has_a_lower_bound() -> None:
    free = {
        path
        for path, kind in numbers(msgspec.inspect.type_info(Config), "")
        if getattr(kind, "ge", None) is None and getattr(kind, "gt", None) is None
    }
    assert free == {".seed"}


def test_two_listeners_may_differ_in_address_or_let_the_kernel_choose() -> None:
    for listen, grpc, admin in (
        ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:8080", "127.0.0.2:8080", "[::]:8080"),
    ):
        assert Config(listen=listen, grpc=grpc, admin=admin).admin == admin


def test_a_reload_keeps_what_only_a_restart_changes_and_names_it() -> None:
    running = Config(listen="127.0.0.1:1", workers=2)
    wanted = Config(listen="127.0.0.1:2", workers=2, policy=RoundRobin())
    kept, refused = keep_fixed(running, wanted)
    assert refused == ["listen"]
    assert kept == Config(listen="127.0.0.1:1", workers=2, policy=RoundRobin())


def test_a_reload_names_what_can_change_by_half_only() -> None:
    tls = TlsConfig(cert="c", key="k")
    for running, wanted in ((Config(), Config(tls=tls)), (Config(tls=tls), Config())):
        kept, refused = keep_fixed(running, wanted)
        assert (kept, refused) == (running, ["tls"])
    wanted = Config(tls=TlsConfig(cert="c2", key="k2"))
    assert keep_fixed(Config(tls=tls), wanted) == (wanted, [])
    larger = LimitsConfig(max_body_bytes=2**25)
    assert keep_fixed(Config(), Config(limits=larger)) == (Config(limits=larger), [])
    kept, refused = keep_fixed(Config(grpc=":1"), Config(grpc=":1", limits=larger))
    assert (kept.limits, refused) == (larger, ["limits.max_body_bytes for gRPC"])


def test_help_is_short_and_names_every_plain_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 50
    for flag in ("--endpoint", "--listen", "--grpc", "--policy", "--config", "--print-config"):
        assert flag in text


def test_the_printed_configuration_is_plain_yaml() -> None:
    assert yaml.safe_load(dump(Config()))["policy"]["type"] == "dualmap"
