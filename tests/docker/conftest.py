import socket

import pytest


@pytest.fixture
def free_ports() -> list[int]:
    """Three that nobody listens on."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
