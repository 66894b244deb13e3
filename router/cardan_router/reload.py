"""Taking another configuration while the process runs.

A reload builds a new configuration in full before any of it takes effect; a bad one changes
nothing. It is asked for by a signal, or by the files themselves having changed.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from cardan.errors import CardanError

from cardan_router import logs
from cardan_router.beat import beat
from cardan_router.config import keep_fixed
from cardan_router.telemetry import metrics
from cardan_router.watch import FileWatch
from cardan_router.wiring import (
    check_kubernetes,
    check_upstream,
    fetcher_of,
    file_source_of,
    files_of,
    keys_of,
    open_access_log,
    wants_scrape,
    with_secrets,
)

if TYPE_CHECKING:
    from cardan_router.access_log import AccessLog
    from cardan_router.app import App
    from cardan_router.config import Config
    from cardan_router.flags import Invocation
    from cardan_router.keys import KeyRing

log = logging.getLogger(__name__)

# How soon it is seen that files are to be watched from now on.
ASLEEP_S = 1.0


class Reloader:
    """Puts configurations in force in an `App`. `ok` says whether the last one was good.

    To be made before any of the files is read: a change from then on is seen.
    """

    def __init__(self, app: App, invocation: Invocation, config: Config) -> None:
        self.ok = True
        self._complaint = ""
        self._app = app
        self._invocation = invocation
        self._watch = FileWatch(files_of(config, invocation.config_path))

    def reload(self) -> None:
        """Read the configuration, keys and certificates again; what runs goes on."""
        self._complaint = ""
        self._try()

    async def watch(self) -> None:
        """Reload when files have changed, where that is asked for, for ever.

        One that fails is tried again at every look: what it waits for may be a file that is not
        among those in force, and that nobody watches yet.
        """
        while True:
            poll_s = self._app.config.reload.poll_s
            await beat(poll_s or ASLEEP_S)
            if not poll_s:
                continue
            if self._watch.changed():
                self.reload()
            elif not self.ok and self._watch.settled:
                self._try()

    def _try(self) -> None:
        count = self._app.count(metrics.RELOADS)
        try:
            self._take(self._invocation.load())
        except (CardanError, OSError) as error:
            self.ok = False
            if str(error) != self._complaint:
                self._complaint = str(error)
                count("failed")
                log.error(  # noqa: TRY400
                    "reload: %s; the last good configuration stays in force", error
                )
            return
        self.ok = True
        count("ok")

    def _take(self, wanted: Config) -> None:
        """Check all of it, then change all of it."""
        wanted.check_complete()
        check_kubernetes(wanted)
        check_upstream(wanted)
        app, running, slot = self._app, self._app.config, self._app.slot
        files = files_of(wanted, self._invocation.config_path)
        config, refused = keep_fixed(running, with_secrets(wanted))
        keys = keys_of(config)
        file_source = file_source_of(config, app.membership, app.registry)
        listed = file_source.read() if file_source else None
        access_log = app.access_log
        with contextlib.ExitStack() as undo:
            if config.log.access != running.log.access:
                access_log = open_access_log(config, app.registry, shared=slot is not None)
                undo.callback(access_log.close, 0.0)
            app.doors.reload_certificates(config.tls)
            undo.pop_all()
        # From here on nothing can fail.
        for name in refused:
            log.warning("reload: %s has changed; that takes a restart", name)
        logs.configure(config.log, slot.number if slot else None)
        self._watch.renew(files)
        app.config = config
        self._put_in_force(config, keys)
        self._swap_access_log(access_log)
        listed_endpoints = listed[1] if listed else ()
        app.membership.report_all({"config": config.endpoints, "file": listed_endpoints})
        app.file_source = file_source
        if file_source is not None and listed is not None:
            file_source.take(*listed)
        app.kubernetes.reconfigure(config.discovery.kubernetes)
        app.overlays.reconfigure(config.discovery.kubernetes)
        log.info("reload: done")

    def _put_in_force(self, config: Config, keys: KeyRing | None) -> None:
        app = self._app
        app.scheduler.reconfigure(config.policy, config.retry, config.admission)
        app.gateway.reconfigure(
            config.routing_key,
            slo_ttft_s=config.slo.ttft_s,
            keys=keys,
            limits=config.limits,
            timeouts=config.timeouts,
            upstream=config.upstream,
        )
        app.fetcher.close()
        app.fetcher = fetcher_of(config)
        app.prober.reconfigure(config.probe, app.fetcher)
        app.prewarms.reconfigure(config.prewarm, config.routing_key, app.fetcher)
        scrapes = wants_scrape(config)
        app.scraper.reconfigure(config.scrape, app.fetcher, enabled=scrapes)
        for visits, bounds in ((app.probes, config.probe), (app.scrapes, config.scrape)):
            visits.reconfigure(max_concurrent=bounds.max_concurrent, max_per_s=bounds.max_per_s)
        app.recorder.sample = config.log.access_sample

    def _swap_access_log(self, fresh: AccessLog) -> None:
        app = self._app
        app.recorder.settle()
        old, app.access_log = app.access_log, fresh
        app.recorder.access_log = fresh
        if old is fresh:
            fresh.reopen()
        else:
            old.close(0.0)
