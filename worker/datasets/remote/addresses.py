"""Connect to public addresses only: the URL of a dataset must not reach into a private network."""

import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpcore

from app.domain.errors import DatasetRejected

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Addresses that are public by their number, and yet lead to a private network or to the cloud's own
# services.
REFUSED: Sequence[Network] = tuple(
    ip_network(each)
    for each in (
        "64:ff9b::/96",  # NAT64 (RFC 6052): an IPv4 address in the last 32 bits
        "64:ff9b:1::/48",  # NAT64 of a site (RFC 8215)
        "2002::/16",  # 6to4 (RFC 3056): an IPv4 address inside
        "2001::/32",  # Teredo (RFC 4380): the same
        "100.64.0.0/10",  # carriers' NAT (RFC 6598)
        "168.63.129.16/32",  # the wire server of Azure
        "192.88.99.0/24",  # 6to4 relays
    )
)


def check_address(address: Address, host: str, allowed: Iterable[Network] = ()) -> None:
    """Raises DatasetRejected unless the address is public or in an allowed network."""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if any(address in network or (inner is not None and inner in network) for network in allowed):
        return
    public = address.is_global and not address.is_multicast and inner is None
    if not public or any(address in network for network in REFUSED):
        raise DatasetRejected(f"{host} has the address {address}, which is not public; DAPPLE_DATASET_NETWORKS allows networks")


def addresses_of(host: str, port: int) -> list[Address]:
    """Every address of a host. Raises httpcore.ConnectError if it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} has no address: {error}") from error
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


class PublicOnly(httpcore.NetworkBackend):
    """Resolves a host once, checks all its addresses, and connects to one of those that it checked.

    A second resolution, as the system makes it when it connects to a name, might give another
    address. `trusted` are the hosts and ports of the operator's own settings, which may be private.
    """

    def __init__(self, allowed: Sequence[Network] = (), trusted: Sequence[tuple[str, int]] = ()) -> None:
        self._allowed, self._trusted = allowed, trusted
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Raises DatasetRejected for an address that is not public, httpcore.ConnectError."""
        found = addresses_of(host, port)
        if (host, port) not in self._trusted:
            for address in found:
                check_address(address, host, self._allowed)
        for number, address in enumerate(found, start=1):
            try:
                return self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(found):
                    raise
        raise httpcore.ConnectError(f"{host} has no address")
