"""Pictures of the web, where the one who serves allows it: public addresses only, whatever names
and redirects say.

A name is resolved once, every address that it has must be public, and the connection goes to that
very address: a name that is answered otherwise a moment later reaches nothing else.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from urllib.parse import urljoin, urlsplit

from seedcli.workflows.serve.errors import ApiError

MOST_REDIRECTS = 3
TIMEOUT_S = 10.0
_CHUNK = 65_536
_PORTS = {"http": 80, "https": 443}
# Addresses that stand for another one: NAT64, 6to4, Teredo.
_TUNNELS = tuple(
    map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif any(ip in network for network in _TUNNELS):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def fetch(url: str, *, max_bytes: int) -> bytes:
    """Address of a picture -> its bytes.

    Args:
        url: http or https, without a user or a port of its own.
        max_bytes: More are not read.

    Raises:
        ApiError: It leads to no public address, is too large, too slow, or not there.
    """
    deadline = time.monotonic() + TIMEOUT_S
    for _ in range(MOST_REDIRECTS + 1):
        found = _fetch_once(url, max_bytes, deadline)
        if isinstance(found, bytes):
            return found
        url = urljoin(url, found)
    raise _refused(f"is redirected more than {MOST_REDIRECTS} times")


def _fetch_once(url: str, max_bytes: int, deadline: float) -> bytes | str:
    """The bytes, or where a redirect leads."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _refused("is no address") from None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        raise _refused("is no address of http or https")
    if port not in (None, *_PORTS.values()):
        raise _refused(f"has the port {port}, expected 80 or 443")
    port = port or _PORTS[parts.scheme]
    try:
        address = _resolve(host, port)
        connection = _connect(parts.scheme, address, host, port, deadline)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {"Host": parts.netloc, "Accept": "image/*", "User-Agent": "seed"}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            if response.status in (301, 302, 303, 307, 308):
                return response.getheader("Location") or "/"
            if response.status != 200:
                raise _refused(f"answers {response.status}")
            return _read(response, max_bytes, deadline)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _refused(f"cannot be read ({type(error).__name__})") from None


def _resolve(host: str, port: int) -> str:
    """Name -> an address; every one that it has must be public."""
    found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    if not found or not all(map(is_public, found)):
        raise _refused("leads to no public address")
    return sorted(found, key=lambda address: ":" in address)[0]


def _connect(
    scheme: str, address: str, host: str, port: int, deadline: float
) -> http.client.HTTPConnection:
    """A connection to that address and no other."""
    connection = http.client.HTTPConnection(host, port)
    plain = socket.create_connection((address, port), timeout=_left(deadline))
    if scheme == "https":
        try:
            plain = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
    connection.sock = plain
    return connection


def _read(response: http.client.HTTPResponse, max_bytes: int, deadline: float) -> bytes:
    content = bytearray()
    while chunk := response.read1(_CHUNK):
        content += chunk
        _left(deadline)
        if len(content) > max_bytes:
            raise _refused(f"has more than {max_bytes:,} bytes")
    return bytes(content)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _refused(why: str) -> ApiError:
    return ApiError(
        400, f"the picture's address {why}", param="image_url", code="invalid_image_url"
    )
