import signal
import threading

from app.api.shutdown import noticing_signals


def test_a_signal_is_noticed_and_handed_on() -> None:
    received: list[int] = []
    closing = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with noticing_signals(closing):
            signal.raise_signal(signal.SIGTERM)
        assert closing.is_set()
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM, signal.SIGTERM]


def test_signals_without_a_handler_keep_their_meaning() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with noticing_signals(threading.Event()):
        assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_have_no_signals() -> None:
    def enter() -> None:
        with noticing_signals(threading.Event()):
            pass

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
