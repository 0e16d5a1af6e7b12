"""Where records may be sent: to a teacher on this machine, and to another one only where the study allows it."""

import ipaddress
import socket
from urllib.parse import urlsplit

from workers.contract.errors import InputError, Problem
from workers.contract.trial import EndpointPlace

WHERE = "endpoint.base_url"


def check_place(place: EndpointPlace) -> None:
    """Refuse a host that is not this machine, unless the study allows it; a name must resolve to loopback alone.

    Raises:
        InputError: It is refused, or no host is named.
    """
    parts = urlsplit(place.base_url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise InputError(Problem(WHERE, "names no host", "write it like http://127.0.0.1:8000/v1"))
    if place.allow_remote:
        return
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        addresses = set()
    if not addresses or not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        remedy = "serve the model on 127.0.0.1, or set endpoint.allow_remote if the data may leave this machine"
        raise InputError(Problem(WHERE, f"{host} is not this machine, and records would be sent there", remedy))
