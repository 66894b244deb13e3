"""What can be asked for: exact paths, each with what answers it.

Nothing else reaches an engine. A path is compared as it came, never decoded and never put together,
and the engine is asked under the path in the table: no traversal, no query of the client's making,
no administration of an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cardan_router.forwarded import Forwarded as Forwarded  # one of the routes' two kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cardan_router.rejections import Told


class Request(NamedTuple):
    """A request that the gateway answers itself.

    `rest` is what followed the path of a prefix route, percent signs and all; `query` the text
    after `?`.
    """

    method: str
    path: str
    rest: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


class Response(NamedTuple):
    """The gateway's own answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Local(NamedTuple):
    """A path that a function answers, at once and without waiting for anything.

    `is_prefix`: everything below `path` too (`/ui/`). `needs_key`: asks for an API key where keys
    are configured. GET implies HEAD.
    """

    path: str
    answer: Callable[[Request], Response]
    methods: tuple[str, ...] = ("GET",)
    is_prefix: bool = False
    needs_key: bool = False


Route = Local | Forwarded


class RouteTable:
    """All routes of one listener."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, Route] = {}
        self._prefixes: list[Local] = []
        for route in routes:
            if isinstance(route, Local) and route.is_prefix:
                self._prefixes.append(route)
            elif route.path in self._exact:
                raise ValueError(f"two routes for {route.path}")
            else:
                self._exact[route.path] = route
        self._prefixes.sort(key=lambda route: -len(route.path))

    def find(self, path: str) -> Route | None:
        """The route of a path; the longest prefix where no path is equal."""
        route = self._exact.get(path)
        if route is not None:
            return route
        for local in self._prefixes:
            if path.startswith(local.path):
                return local
        return None


def allows(route: Route, method: str) -> bool:
    """Does a method have a meaning there?"""
    methods = ("POST",) if isinstance(route, Forwarded) else route.methods
    return method in methods or method == "OPTIONS" or (method == "HEAD" and "GET" in methods)


def allowed(route: Route) -> str:
    """The methods of a route, as an `Allow` header names them."""
    if isinstance(route, Forwarded):
        return "OPTIONS, POST"
    methods = {*route.methods, "OPTIONS"}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


def refusal_headers(told: Told, route: Route | None) -> tuple[tuple[str, str], ...]:
    """What a refusal must say beside its body: which methods there are, how to identify oneself."""
    if told.status == 405 and route is not None:
        return (("allow", allowed(route)),)
    return (("www-authenticate", "Bearer"),) if told.status == 401 else ()
