from collections.abc import Callable
from typing import Any, TypeVar

_Receiver = TypeVar("_Receiver", bound=Callable[..., Any])

class Signal:
    def connect(self, receiver: _Receiver) -> _Receiver: ...

setup_logging: Signal
worker_shutting_down: Signal
