"""Ask a broker whether it is one, without the libraries that talk to it."""

import socket
import ssl
from urllib.parse import unquote, urlsplit

PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
NAMES = {"redis": "redis", "rediss": "redis", "amqp": "rabbitmq", "amqps": "rabbitmq"}
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"  # RabbitMQ answers with Connection.Start: a frame of type 1


class BrokerSilent(Exception):
    """Nobody answers there, or not as the URL says; the text says which."""


def answers(url: str, seconds: float) -> str:
    """What answered, such as "redis at db:6379". Raises BrokerSilent.

    To Redis the password is told as well; to RabbitMQ it is not, as it asks only after a longer greeting.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS:
        raise BrokerSilent(f"{parts.scheme}:// is no broker that is known here; use redis:// or amqp://")
    try:
        where = f"{NAMES[parts.scheme]} at {parts.hostname}:{parts.port or PORTS[parts.scheme]}"
    except ValueError as error:  # its text quotes what stands where a port should, which is a part of such a password
        raise BrokerSilent("the URL has no valid port; write / @ : # in a password as %2F %40 %3A %23") from error
    try:
        with socket.create_connection((parts.hostname or "localhost", parts.port or PORTS[parts.scheme]), seconds) as plain:
            if parts.scheme in ("rediss", "amqps"):
                with ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) as secure:
                    answer = _answer(secure, url)
            else:
                answer = _answer(plain, url)
    except OSError as error:
        raise BrokerSilent(f"{where}: {error}") from error
    if not answer.startswith((b"+PONG", b"\x01")):
        raise BrokerSilent(f"{where}: it answers {answer[:80].decode(errors='replace').strip()!r}")
    return where


def _answer(connection: socket.socket, url: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme.startswith("amqp"):
        connection.sendall(AMQP_HEADER)
        return connection.recv(64)
    if parts.password is not None:
        names = [unquote(parts.username)] if parts.username else []
        connection.sendall(_command("AUTH", *names, unquote(parts.password)))
        answer = connection.recv(256)
        if not answer.startswith(b"+OK"):
            return answer
    connection.sendall(_command("PING"))
    return connection.recv(64)


def _command(*words: str) -> bytes:
    """In Redis's protocol: an array of strings with their lengths."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
