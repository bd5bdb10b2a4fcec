"""One POST to a server that a user named: to public addresses only, no redirects, bounded."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from app.core.addresses import is_public
from app.core.deliveries import Outcome, judge

_MOST_ANSWER_BYTES = 64 * 1024
_ANSWER_SECONDS = 2.0
_PORTS = (80, 443)


class Refused(Exception):
    """The address is none that a user may make us ask."""


async def post(
    url: str,
    headers: Mapping[str, str],
    payload: bytes,
    *,
    timeout_seconds: float,
    private_hosts: Collection[str] = (),
) -> Outcome:
    """Send it and say how it went; whatever the receiver does, there is an outcome.

    `private_hosts` may have any address and port. Neither the url's path nor its query, which may
    hold secrets, is in the outcome's error.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    try:
        target = URL(url)
        async with asyncio.timeout_at(deadline):
            addresses = await _resolve(target, private_hosts)
        return await _send(target, addresses, headers, payload, deadline)
    except Refused as fault:
        return Outcome(error=str(fault), is_hopeless=True)
    except TimeoutError:
        return Outcome(error=f"no answer within {timeout_seconds:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as fault:
        return Outcome(error=_words(fault))


async def _resolve(target: URL, private_hosts: Collection[str]) -> list[str]:
    """The host's addresses. Raises Refused if any of them is not for users, OSError."""
    host = (target.host or "").rstrip(".").lower()
    port = target.port
    if target.scheme not in ("http", "https") or not host or port is None:
        raise Refused("only http and https addresses can be asked")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.raw_host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if host in private_hosts:
        return addresses
    if port not in _PORTS:
        raise Refused(f"port {port} is not allowed")
    if not all(is_public(address) for address in addresses):
        raise Refused(f"{host} does not have a public address")
    return addresses


async def _send(
    target: URL,
    addresses: list[str],
    headers: Mapping[str, str],
    payload: bytes,
    deadline: float,
) -> Outcome:
    checked = {ip_address(address) for address in addresses}

    def open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if ip_address(address[0]) not in checked:
            raise Refused("the address changed after it was checked")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=_Resolved(addresses),
        use_dns_cache=False,
        force_close=True,
        socket_factory=open_socket,
    )
    client = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),
        headers={"user-agent": "Stoker", "accept-encoding": "identity"},
    )
    async with client:
        async with asyncio.timeout_at(deadline):
            answer = await client.post(target, data=payload, headers=headers, allow_redirects=False)
        async with answer:
            await _read_some(answer)
        return judge(answer.status, _retry_after(answer.headers.get("retry-after")))


async def _read_some(answer: aiohttp.ClientResponse) -> None:
    """Let the receiver finish its words, if they are few and soon said; they change nothing."""
    size = 0
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            while size < _MOST_ANSWER_BYTES and (
                part := await answer.content.read(_MOST_ANSWER_BYTES - size)
            ):
                size += len(part)
    except (aiohttp.ClientError, OSError):  # a time-out is one, too
        return


class _Resolved(AbstractResolver):
    """Knows the addresses that were checked, and asks nobody again."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _retry_after(text: str | None) -> float | None:
    """Seconds, from either form of the header."""
    if text is None:
        return None
    try:
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()


def _words(fault: Exception) -> str:
    match fault:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(fault.certificate_error, "verify_message", "") or "not trusted"
            return f"the certificate is not valid: {reason}"
        case aiohttp.ClientSSLError():
            return "TLS failed"
        case aiohttp.ClientConnectorError():
            errno = fault.os_error.errno
            return f"can't connect: {os.strerror(errno) if errno else 'no address answers'}"
        case socket.gaierror():
            return "the host's name can't be resolved"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return "the connection was closed without an answer"
        case aiohttp.InvalidURL() | ValueError():
            return "the url can't be used"
        case aiohttp.ClientResponseError():
            return "what came back is not HTTP"
        case _:
            return f"failed: {type(fault).__name__}"
