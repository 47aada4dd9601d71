"""The application that `celery -A worker.main worker` loads."""

from worker.service.celery_worker import app

__all__ = ["app"]
