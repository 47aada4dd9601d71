import pytest

from worker.service.celery_worker import configuration


def test_celery_is_told_in_words_that_there_is_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAPPLE_BROKER_URL", raising=False)

    with pytest.raises(SystemExit, match="dapple: DAPPLE_BROKER_URL is not set"):
        configuration()
