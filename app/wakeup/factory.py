"""The queue that the settings ask for."""

from app.distribution import install_extra
from app.domain.errors import PermanentError
from app.domain.ports import TaskQueue
from app.settings import Settings
from app.wakeup.polling import PollingQueue


def queue_for(settings: Settings) -> TaskQueue:
    """A queue on the broker, if one is set, else a polling queue.

    Raises PermanentError if Celery is needed but not installed.
    """
    if settings.broker_url is None:
        return PollingQueue()
    try:
        from app.wakeup.celery import CeleryQueue
    except ModuleNotFoundError as error:
        raise PermanentError(f"DAPPLE_BROKER_URL is set, which needs {error.name}; {install_extra('celery')}") from error
    return CeleryQueue(settings.broker_url)
