"""What kopf calls: fleets come, change and go. Each handler is a line or two; `Fleets` remembers.

kopf lists and watches the fleets, and keeps the finalizer, so that what a fleet leaves with
gateways is removed before it is gone. Ticks are not kopf's: one goes over all fleets at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import kopf

from cardan_controller.crds.definitions import FLEET, GROUP, VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cardan_controller.fleets import Fleets

FINALIZER: Final = f"{GROUP}/controller"
# kopf would write its own progress into each fleet; with these names it is told from ours.
PREFIX: Final = f"kopf.{GROUP}"


def registry(
    fleets: Fleets, forget: Callable[[dict[str, Any]], Awaitable[None]], kubeconfig: str
) -> kopf.OperatorRegistry:
    """All handlers. `forget` removes what a fleet leaves with gateways."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's
        return credentials(kubeconfig, **kwargs)

    @kopf.on.startup(registry=made)
    async def configure(settings: kopf.OperatorSettings, **_: object) -> None:
        tune(settings)

    @kopf.on.event(GROUP, VERSION, FLEET.plural, registry=made)
    async def changed(event: kopf.RawEvent, **_: object) -> None:
        fleets.changed(event["type"], event["object"])

    @kopf.on.delete(GROUP, VERSION, FLEET.plural, registry=made)
    async def deleted(body: kopf.Body, **_: object) -> None:
        await forget(dict(body))

    return made


def tune(settings: kopf.OperatorSettings) -> None:
    """How kopf behaves: no events or annotations of its own on our objects, and no peering."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # fleets are there from the start: the chart installs them
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX)
    settings.watching.server_timeout = 300  # a watch begins anew now and then, as ours do
    settings.watching.client_timeout = 330


def credentials(kubeconfig: str, **kwargs: Any) -> kopf.ConnectionInfo | None:  # noqa: ANN401 - kopf's
    """Who we are: the pod's service account, or a kubeconfig."""
    if kubeconfig:
        os.environ["KUBECONFIG"] = kubeconfig  # it is kopf's only way to be told
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
