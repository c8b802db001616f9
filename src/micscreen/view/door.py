"""Who may come in: this machine only, with the token, from our own page.

A page in the same browser must not reach a job through the user's own machine: requests to another
host name (DNS rebinding) and from another origin are refused, and nothing is answered without the
token, which the address holds once and a cookie afterwards.
"""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS: Final = ("127.0.0.1", "localhost", "::1")
MOST_BYTES: Final = 2_000_000
"""Of a request's body."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Door:
    """ASGI middleware that lets in only who may.

    Parameters
    ----------
    app
        What is behind it.
    token
        That the first address must hold as ``?token=``.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token
        # Cookies know no ports: two jobs viewed at once must not take each other's.
        self._cookie = f"micscreen-{secrets.token_hex(4)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or 413, or let the request through; all answers get the safe headers."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        problem, entering = self._problem(scope, headers)

        async def safe_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                if entering:
                    cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
                    out.append("Set-Cookie", cookie)
            await send(message)

        if problem:
            answer = PlainTextResponse(problem + "\n", 403)
            await answer(scope, receive, safe_send)
        elif not headers.get("content-length", "0").isdigit() or (
            int(headers.get("content-length", "0")) > MOST_BYTES
        ):
            await PlainTextResponse("too much\n", 413)(scope, receive, safe_send)
        else:
            await self._app(scope, receive, safe_send)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[str, bool]:
        """Return why a request is refused, empty if it is not; and whether it brings the token."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _host_name(hosts[0]) not in HOSTS:
            return "wrong host: open the address that `micscreen view` printed", False
        origin, method = headers.get("origin"), scope["method"]
        if origin is not None and origin != f"http://{hosts[0]}":
            return "wrong origin", False
        if method not in ("GET", "HEAD"):
            if method != "POST" or origin is None:
                return "wrong origin", False
            if headers.get("content-type", "").split(";")[0] != "application/json":
                return "wrong content", False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        entering = scope["path"] == "/" and method == "GET" and self._is_token(given[0])
        if entering or self._is_token(self._cookie_value(headers)):
            return "", entering
        return "wrong token: open the address that `micscreen view` printed", False

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _cookie_value(self, headers: Headers) -> str:
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load("; ".join(headers.getlist("cookie")))
        except CookieError:
            return ""
        found = jar.get(self._cookie)
        return "" if found is None else found.value


def _host_name(host: str) -> str:
    """Return the name in a Host header without its port; empty when it is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.path or parts.query or parts.fragment or "@" in host:
        return ""
    return parts.hostname or ""
