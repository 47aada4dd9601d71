"""Whether a broker can be used, tried with the settings that the service itself connects with."""

from urllib.parse import urlsplit

from celery import Celery

from app.wakeup.celery import ANSWER_SECONDS, sending

PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}


class BrokerUnavailable(Exception):
    """Nothing listens there, or it refuses this URL; the text says which."""


def probe(broker_url: str) -> str:
    """Connect and log in once; return the broker, such as "redis at db:6379".

    Raises BrokerUnavailable, whose text holds no password.
    """
    parts = urlsplit(broker_url)
    if parts.scheme not in PORTS:
        raise BrokerUnavailable(f"{parts.scheme}:// is not a supported broker; use redis:// or amqp://")
    try:
        where = f"{parts.scheme} at {parts.hostname or 'localhost'}:{parts.port or PORTS[parts.scheme]}"
    except ValueError as error:  # its text quotes a part of the password as the port
        raise BrokerUnavailable("the URL has no valid port; write / @ : # in a password as %2F %40 %3A %23") from error
    connection = Celery("dapple", set_as_current=False, config_source=dict(sending(broker_url))).connection_for_write()
    try:
        connection.connect()
    except Exception as error:  # the libraries of brokers raise errors of many classes
        raise BrokerUnavailable(f"{where}: {error}") from error
    finally:
        connection.collect(ANSWER_SECONDS)
    return where
