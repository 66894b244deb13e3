"""A mounted ConfigMap or Secret that changes is read again without a signal, once and whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import yaml
from cardan.errors import ConfigError
from cardan_router.config_file import decode
from cardan_router.watch import FileWatch
from cardan_router.wiring import check_files, files_of, with_secrets

from tests.router.asking import ADMIN_KEY, ask, metric
from tests.system.processes import until

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.system.processes import Processes


class Mount:
    """A folder as the kubelet mounts one: names are links through `..data`, which is swapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._turn = 0

    def put(self, **files: str) -> None:
        """Replace all files at once."""
        self._turn += 1
        version = self.folder / f"..version-{self._turn}"
        version.mkdir(parents=True)
        for name, text in files.items():
            (version / name).write_text(text)
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.replace(self.folder / "..data")


def test_a_swapped_link_is_one_change_and_told_when_it_holds_still(tmp_path: Path) -> None:
    mount = Mount(tmp_path)
    mount.put(config="a: 1")
    watch = FileWatch([tmp_path / "config"])
    assert [watch.changed() for _ in range(3)] == [False, False, False]
    mount.put(config="a: 2")
    assert [watch.changed() for _ in range(4)] == [False, True, False, False]


def test_a_file_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "cert"
    file.write_text("old")
    watch = FileWatch([file])
    for text in ("n", "ne", "new"):
        file.write_text(text)
        os.utime(file, ns=(0, len(text)))
        assert not watch.changed()
    assert watch.changed()


def test_a_missing_file_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one")
    watch = FileWatch([file])
    file.unlink()
    assert [watch.changed() for _ in range(3)] == [False] * 3
    file.write_text("two, longer")
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_a_file_that_has_gone_for_good_hides_no_other_change(tmp_path: Path) -> None:
    file, other = tmp_path / "keys", tmp_path / "config"
    file.write_text("one")
    other.write_text("api_keys: keys")
    watch = FileWatch([other, file])
    file.unlink()
    other.write_text("")
    assert [watch.changed() for _ in range(6)].count(True) == 1
    other.write_text("policy: dualmap")
    assert [watch.changed() for _ in range(3)] == [False, True, False]
    file.write_text("it is back")
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_a_change_between_the_look_and_the_reload_is_seen_at_the_next(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("1")
    other.write_text("1")
    watch = FileWatch([file])
    file.write_text("22")
    assert [watch.changed() for _ in range(2)] == [False, True]
    file.write_text("333")
    watch.renew([file, other])
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def config(**document: Any) -> Any:
    return decode({"endpoints": ["http://e:1"], **document}, "test")


def test_the_engines_key_comes_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-engine\n")
    given = config(upstream={"api_key_file": str(key)})
    assert with_secrets(given).upstream.api_key == "sk-engine"
    assert given.upstream.api_key == ""  # what is printed as the configuration holds no key
    assert files_of(given, tmp_path / "c.yaml") == [tmp_path / "c.yaml", key]


@pytest.mark.parametrize("text", ["", "\n", "two words", "ümlaut", "a\nb"])
def test_a_file_that_holds_no_key_is_refused_without_repeating_it(
    tmp_path: Path, text: str
) -> None:
    key = tmp_path / "key"
    key.write_text(text)
    with pytest.raises(ConfigError, match=r"key: one line of printable ASCII") as raised:
        with_secrets(config(upstream={"api_key_file": str(key)}))
    assert not text.strip() or text not in str(raised.value)


def test_two_keys_for_the_engines_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="api_key or api_key_file, not both"):
        config(upstream={"api_key": "a", "api_key_file": "b"})


def test_who_signs_for_engines_is_watched_and_checked_too(tmp_path: Path) -> None:
    signer = tmp_path / "ca.pem"
    given = config(upstream={"tls_ca": str(signer)})
    assert files_of(given, None) == [signer]
    with pytest.raises(ConfigError, match=r"upstream.tls_ca: \S+ca.pem: No such file"):
        check_files(given)
    signer.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"upstream.tls_ca: \S+ca.pem"):
        check_files(given)


@pytest.mark.slow
def test_a_gateway_takes_a_swapped_config_map_and_keeps_the_old_one_when_it_is_wrong(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    mount = Mount(tmp_path / "mount")

    def put(policy: str) -> None:
        document = {
            "endpoints": engines,
            "policy": policy,
            "reload": {"poll_s": 0.05},
            "upstream": {"api_key_file": str(mount.folder / "key")},
        }
        mount.put(config=yaml.safe_dump(document), key=ADMIN_KEY)

    put("round-robin")
    router = procs.router([], "--config", str(mount.folder / "config"), joined=len(engines))
    assert ask(router.url)["reason"] == "policy"
    put("dualmap")
    until(lambda: "reload: done" in router.output(), "the reload")
    assert ask(router.url)["reason"] != "policy"
    put("dualmop")
    until(lambda: "did you mean 'dualmap'" in router.output(), "the complaint")
    assert metric(router.url, "cardan_config_last_reload_success") == 0
    assert ask(router.url)["reason"] != "policy"
    put("least-request")
    until(lambda: router.output().count("reload: done") == 2, "the next reload")
    assert ask(router.url)["reason"] == "policy"
    assert metric(router.url, r'cardan_config_reloads_total\{result="ok"\}') == 2


@pytest.mark.slow
def test_a_file_that_comes_later_than_its_mention_is_taken_when_it_comes(
    procs: Processes, engines: list[str], tmp_path: Path
) -> None:
    file, listed = tmp_path / "config", tmp_path / "listed"

    def put(**more: Any) -> None:
        file.write_text(yaml.safe_dump({"reload": {"poll_s": 0.05}, **more}))

    put(endpoints=engines)
    router = procs.router([], "--config", str(file), joined=len(engines))
    put(discovery={"file": str(listed)})
    until(lambda: f"{listed}: No such file" in router.output(), "the complaint")
    until(lambda: metric(router.url, "cardan_config_last_reload_success") == 0, "the metric")
    listed.write_text(yaml.safe_dump(engines[:1]))
    until(lambda: "reload: done" in router.output(), "the reload")
    assert metric(router.url, "cardan_config_last_reload_success") == 1
    assert router.output().count("No such file") == 1
    assert metric(router.url, r'cardan_config_reloads_total\{result="failed"\}') == 1
