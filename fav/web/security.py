"""Access control: the token of the link, the Host and Origin headers, and the content security policy.

Every request passes through `Guard`. A request that changes something also needs the origin of the page, and a second token
that only our pages know. The check of the Host header prevents DNS rebinding.
"""

import hashlib
import hmac
import ipaddress
import secrets
import socket
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

READING = frozenset({"GET", "HEAD"})
METHODS = READING | {"POST", "PUT", "DELETE"}
PARAMETER = "token"  # of the link
CSRF_HEADER = "x-fav-csrf"
COOKIE_AGE_S = 30 * 86400
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


class Access:
    """The random token of a server, and what is derived from it.

    Args:
        token: None: a new random one.
        hosts: allowed names in the Host header, in lower case.
        any_address: also allow any IP address there. (DNS rebinding needs a name.)
    """

    def __init__(self, token: str | None = None, hosts: frozenset[str] = LOCAL, any_address: bool = False):
        self.token = token or secrets.token_urlsafe(24)
        self.hosts, self.any_address = hosts, any_address
        self.csrf = hmac.new(self.token.encode(), b"csrf", hashlib.sha256).hexdigest()
        # Cookies are shared by all ports of a machine: two servers must not replace each other's.
        self.cookie = f"fav-{hashlib.sha256(self.token.encode()).hexdigest()[:8]}"
        self._session = hmac.new(self.token.encode(), b"session", hashlib.sha256).hexdigest()

    @property
    def session(self) -> str:
        """The value of the cookie. It does not reveal the token."""
        return self._session

    def knows_host(self, header: str) -> bool:
        """Whether the Host header of a request names this server."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        if name in self.hosts:
            return True
        if not self.any_address:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def is_token(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.token.encode())

    def lets_in(self, connection: HTTPConnection) -> bool:
        """Whether a request carries the cookie, or the token as scripts send it: `Authorization: Bearer TOKEN`."""
        kind, _, word = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(word):
            return True
        return hmac.compare_digest(connection.cookies.get(self.cookie, "").encode(), self.session.encode())

    def may_read(self, headers: Headers) -> bool:
        """Whether a request that changes nothing comes from a page of ours, from no page, or opens one of ours in a window.

        Browsers send the cookie also for what a page of another port of this machine asks for in the background. That page cannot
        read the answer, but it could have this machine paint.
        """
        if headers.get("sec-fetch-site") in (None, "same-origin", "none"):
            return True
        return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest", "document") == "document"

    def may_change(self, headers: Headers) -> bool:
        """Whether a request that changes something comes from one of our pages, which know the second token."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        try:
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                return False
        except ValueError:  # not a URL
            return False
        if site not in (None, "same-origin", "none"):
            return False
        return hmac.compare_digest(headers.get(CSRF_HEADER, "").encode(), self.csrf.encode())


def names_of(host: str) -> frozenset[str]:
    """The allowed names in the Host header of a server that is bound to `host`."""
    own = {host.lower(), socket.gethostname().lower()}
    return LOCAL if host in LOCAL else LOCAL | own | {socket.getfqdn().lower()}


class Guard:
    """The outermost layer of the application. It checks every request before any handler sees it."""

    def __init__(self, app: ASGIApp, access: Access):
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # web sockets are not supported

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(HTTPConnection(scope), scope)
        await (answer or self.app)(scope, receive, with_headers)

    def _refusal(self, connection: HTTPConnection, scope: Scope) -> Response | None:
        """The response to a request that is refused, or None."""
        method, headers = scope["method"], connection.headers
        if not self.access.knows_host(headers.get("host", "")):
            return PlainTextResponse("this server does not answer to that name; open the link that it printed", 421)
        if method not in METHODS:
            return PlainTextResponse("method not allowed", 405)
        given = connection.query_params.get(PARAMETER)
        if given is not None and method in READING:
            if not self.access.is_token(given):
                return _locked("The token in this link is not the one of this server.")
            rest = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] != PARAMETER]
            path = "/" + scope["path"].lstrip("/")  # two slashes would lead to another server
            answer = RedirectResponse(path + (f"?{urlencode(rest)}" if rest else ""), 303)
            answer.set_cookie(
                self.access.cookie, self.access.session, max_age=COOKIE_AGE_S, httponly=True, samesite="lax"
            )
            return answer
        if not self.access.lets_in(connection):
            return _locked("This page is locked.")
        if not (self.access.may_read(headers) if method in READING else self.access.may_change(headers)):
            return PlainTextResponse("this request does not come from the page; load it again", 403)
        return None


def _locked(why: str) -> Response:
    return PlainTextResponse(f"{why}\nOpen the link that `fav web` printed when it started.\n", 403)
