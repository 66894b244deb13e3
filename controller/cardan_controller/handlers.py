"""What kopf calls: fleets come, change and go. Each handler is a line or two; `Fleets` remembers.

kopf lists and watches the fleets, and keeps the finalizer, so that what a fleet leaves with
gateways is removed before it is gone. Ticks are not kopf's: one goes over all fleets at once.

It has a thread and an event loop of its own. In a loop that it shares it takes the process's
signals, and when it ends it takes every task that is younger than it for one of its own and ends
those too: in the middle of a tick's writes. So what a handler hears is handed to the operator's
loop, in the order it was heard.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, Final

import kopf
import msgspec
from cardan.errors import CardanError
from cardan_kube.api import ApiError

from cardan_controller.crds.definitions import FLEET, GROUP, VERSION
from cardan_controller.crds.documents import read_fleet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from cardan_controller.crds.documents import Fleet
    from cardan_controller.fleets import Fleets

FINALIZER: Final = f"{GROUP}/controller"
# Who we are among peers, whom kopf is told not to look for. It would ask for the user's name, and
# the user of an image has none.
IDENTITY: Final[Any] = "cardan-controller"
# kopf would write its own progress into each fleet; with these names it is told from ours.
PREFIX: Final = f"kopf.{GROUP}"
# How soon a deletion is tried again that the API server did not take.
AGAIN_S: Final = 2.0
# How long kopf may take to close what it has open; its thread ends with the process in any case.
LEAVE_S: Final = 2.0


class FleetWatchError(CardanError):
    """Fleets are watched no more."""


class FleetWatch:
    """kopf, in its thread. `forget` removes what a fleet leaves with gateways.

    `admitted` is the fleet as it may be looked after.
    """

    def __init__(
        self,
        fleets: Fleets,
        forget: Callable[[Fleet], Awaitable[None]],
        admitted: Callable[[Fleet], Fleet],
        kubeconfig: str,
        namespaces: Sequence[str],
    ) -> None:
        self._fleets = fleets
        self._forget = forget
        self._admitted = admitted
        self._kubeconfig = kubeconfig
        self._namespaces = namespaces
        self._stop = threading.Event()

    async def run(self) -> None:
        """Until cancelled; `FleetWatchError` if it ends by itself."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        thread = threading.Thread(target=self._work, args=(loop, ended), name="kopf", daemon=True)
        thread.start()
        try:
            await ended.wait()
            raise FleetWatchError("kopf has ended")
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join, LEAVE_S)

    def _work(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        """The thread."""
        try:
            asyncio.run(
                kopf.operator(
                    registry=registry(self._heard(loop), self._left(loop), self._kubeconfig),
                    settings=kopf.OperatorSettings(),
                    standalone=True,
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                    stop_flag=self._stop,
                    identity=IDENTITY,
                )
            )
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set)

    def _heard(self, loop: asyncio.AbstractEventLoop) -> Callable[[Fleet, bool], None]:
        def heard(fleet: Fleet, deleted: bool) -> None:
            known = self._admitted(fleet)
            loop.call_soon_threadsafe(lambda: self._fleets.changed(known, deleted=deleted))

        return heard

    def _left(self, loop: asyncio.AbstractEventLoop) -> Callable[[Fleet], Awaitable[None]]:
        async def forget(fleet: Fleet) -> None:
            await self._forget(self._admitted(fleet))

        async def left(fleet: Fleet) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(forget(fleet), loop))

        return left


def registry(
    heard: Callable[[Fleet, bool], None],
    left: Callable[[Fleet], Awaitable[None]],
    kubeconfig: str,
) -> kopf.OperatorRegistry:
    """All handlers. `heard` is told of each fleet that is there or gone (True), `left` of one that
    is being deleted: it goes when that returns.
    """
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's
        return credentials(kubeconfig, **kwargs)

    @kopf.on.startup(registry=made)
    async def configure(settings: kopf.OperatorSettings, **_: object) -> None:
        tune(settings)

    @kopf.on.event(GROUP, VERSION, FLEET.plural, registry=made)
    async def changed(event: kopf.RawEvent, **_: object) -> None:
        heard(read_fleet(msgspec.json.encode(event["object"])), event["type"] == "DELETED")

    @kopf.on.delete(GROUP, VERSION, FLEET.plural, registry=made)
    async def deleted(body: kopf.Body, **_: object) -> None:
        try:
            await left(read_fleet(msgspec.json.encode(dict(body))))
        except ApiError as error:
            raise kopf.TemporaryError(str(error), delay=AGAIN_S) from error

    return made


class _NoStorage(kopf.DiffBaseStorage):
    """kopf would keep a copy of each specification in an annotation, for handlers of changes."""

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """What is different is nobody's question here."""
        del body
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing."""


def tune(settings: kopf.OperatorSettings) -> None:
    """How kopf behaves: no events or annotations of its own on our objects, and no peering."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # fleets are there from the start: the chart installs them
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = _NoStorage()
    settings.watching.server_timeout = 300  # a watch begins anew now and then, as ours do
    settings.watching.client_timeout = 330


def credentials(kubeconfig: str, **kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's
    """Who we are: the pod's service account, or a kubeconfig."""
    if kubeconfig:
        os.environ["KUBECONFIG"] = kubeconfig  # it is kopf's only way to be told
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
