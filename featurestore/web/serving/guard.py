"""What every request passes, and every reply carries: host, token, origin, security headers.

Belongs here: the checks that do not depend on the path. Does not: budgets (`featurestore.web.serving.budget`).
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, quote_from_bytes, unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.web.serving.encoding import HEADER
from featurestore.web.serving.problems import plain_problem, problem_reply

_COOKIE = "featurestore_token"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SENT = ("Authorization", "Range", "If-None-Match", "If-Range", "Accept")
_READ = ("Bin-Size", "Fingerprint", "Licence", "Residual", "First-Start", "Contig", "Centre", "Offset")
_IN_A_QUERY = "%!$&'()*+,;=:@/?"
"""What may stand in a query beside letters and digits (RFC 3986, 3.4)."""
_EXPOSED = ", ".join(["ETag", "Content-Range", "Retry-After", *(HEADER + name for name in _READ)])


class Guard:
    """The outermost application.

    Parameters
    ----------
    hosts
        Names under which the server may be reached. IP addresses always are: against a name that an attacker's DNS
        points here (DNS rebinding) they need no check.
    origins
        Whose web pages may read replies (CORS).
    token
        That every request has to bring, as a bearer token, or as the cookie that `/?token=...` sets; None for none.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], origins: Iterable[str], token: str | None) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = set(origins)
        self._token = token
        self._cookie = None if token is None else hashlib.sha256(f"cookie {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        is_allowed = origin in self._origins
        is_head = scope["method"] == "HEAD" and not scope["path"].startswith("/stores/")

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, text in _HEADERS.items():
                    sent.setdefault(name, text)
                sent.setdefault("Cross-Origin-Resource-Policy", "cross-origin" if is_allowed else "same-origin")
                if self._origins:
                    sent.add_vary_header("Origin")
                if is_allowed and origin is not None:
                    sent["Access-Control-Allow-Origin"] = origin
                    sent["Access-Control-Expose-Headers"] = _EXPOSED
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        refused = self._refusal(scope, headers, is_allowed=is_allowed)
        if is_head:
            scope = {**scope, "method": "GET"}
        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers, *, is_allowed: bool) -> Response | None:
        host = _host_of(headers.get("host", ""))
        if not (host in self._hosts or _is_address(host)):
            return problem_reply(
                plain_problem(
                    421,
                    "host",
                    "Not the name of this server",
                    "the Host header names another host; use localhost or an IP address, or start the server with "
                    "--allowed-hosts and the name",
                )
            )
        if scope["method"] == "OPTIONS" and is_allowed and "access-control-request-method" in headers:
            allowed = {"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": ", ".join(_SENT)}
            return Response(None, 204, headers=allowed | {"Access-Control-Max-Age": "600"})
        return None if self._token is None else self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        assert self._token is not None
        assert self._cookie is not None
        # All three are compared in constant time.
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token") if scope["path"] == "/" else None
        if given and hmac.compare_digest(given[0].encode(), self._token.encode()):
            reply = RedirectResponse(with_query("/", scope), 303)
            reply.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="strict")
            return reply
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and hmac.compare_digest(bearer.strip().encode("latin-1"), self._token.encode()):
            return None
        cookies: SimpleCookie = SimpleCookie()
        cookies.load(headers.get("cookie", ""))
        if _COOKIE in cookies and hmac.compare_digest(cookies[_COOKIE].value.encode(), self._cookie.encode()):
            return None
        problem = plain_problem(
            401,
            "token",
            "A token is needed",
            "send the server's token as `Authorization: Bearer TOKEN`, or open /?token=TOKEN in the browser",
        )
        return problem_reply(problem, {"WWW-Authenticate": "Bearer"})


def with_query(path: str, scope: Scope) -> str:
    """Give a path of this server with the query of a request, but for a token, which belongs in no further address."""
    pieces = [piece for piece in scope["query_string"].split(b"&") if piece]
    kept = [piece for piece in pieces if unquote_to_bytes(piece.partition(b"=")[0]) != b"token"]
    # Bytes that a header may not hold are escaped; those that are escaped stay so.
    return f"{path}?{quote_from_bytes(b'&'.join(kept), safe=_IN_A_QUERY)}" if kept else path


def _host_of(header: str) -> str:
    """Give the host of a `Host` header, without port and brackets."""
    host = header.rsplit(":", 1)[0] if not header.endswith("]") and header.rpartition(":")[2].isdecimal() else header
    return host.strip("[]").lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
