"""One poll of the database for all event streams of this process."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event as Flag

from starlette.concurrency import run_in_threadpool

from app.api.job_views import progress_view
from app.db import events, jobs
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.domain.job import Event, JobState
from app.domain.progress import PhaseTally
from app.schemas import ProgressView

LOOK_SECONDS = 0.5
MOST_AT_ONCE = 5000
MOVING = (JobState.RUNNING, JobState.CANCELLING)


@dataclass(frozen=True)
class News:
    """What a watcher has not seen yet.

    `progress` is None if it has not changed. `over`: the stream ends after this.
    """

    events: tuple[Event, ...]
    progress: ProgressView | None
    over: bool


GONE = News((), None, over=True)  # the job is deleted, or the client must reconnect; its next request tells which


class Watcher:
    """One open stream. It holds one batch of news until `news` takes it; no more comes before."""

    def __init__(self, job_id: str, seen: int, progress: ProgressView | None) -> None:
        self.job_id = job_id
        self.seen = seen
        self._progress: ProgressView | None = progress
        self._told: asyncio.Queue[News] = asyncio.Queue(maxsize=1)
        self._ended = False

    @property
    def ready(self) -> bool:
        return self._told.empty()

    def tell(self, news: News) -> None:
        """Deliver the news if there is something that the watcher has not seen."""
        unseen = tuple(event for event in news.events if event.id > self.seen)
        progress = news.progress if news.progress != self._progress else None
        if unseen or progress is not None or news.over:
            self.seen = unseen[-1].id if unseen else self.seen
            self._progress = progress or self._progress
            self._told.put_nowait(News(unseen, progress, news.over))

    def end(self) -> None:
        """End the stream after the news already delivered."""
        self._ended = True
        if self.ready:
            self._told.put_nowait(GONE)

    async def news(self, patience_seconds: float) -> News | None:
        """The next news; None if there is none within `patience_seconds`."""
        if self._ended and self.ready:
            return GONE
        try:
            return await asyncio.wait_for(self._told.get(), patience_seconds)
        except TimeoutError:
            return None


class EventBroadcaster:
    """Polls the database while there are watchers.

    A poll for a thousand streams takes about ten statements on one connection. It lives in one
    event loop. When `closing` is set or the database does not answer, every stream ends at the next
    poll.
    """

    def __init__(self, database: Database, closing: Flag) -> None:
        self._database = database
        self._closing = closing
        self._watchers: set[Watcher] = set()
        self._looking: asyncio.Task[None] | None = None

    def watch(self, job_id: str, seen: int, progress: ProgressView | None) -> Watcher:
        """A watcher of the job's events after event `seen`, and of changes of this progress.

        Call `leave` at the end.
        """
        watcher = Watcher(job_id, seen, progress)
        self._watchers.add(watcher)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_until_alone())
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Deliver nothing more to this watcher."""
        self._watchers.discard(watcher)

    async def _look_until_alone(self) -> None:
        try:
            while self._watchers:
                await asyncio.sleep(LOOK_SECONDS)
                ready = [watcher for watcher in self._watchers if watcher.ready]
                found = await self._found(ready)
                for watcher in ready:
                    watcher.tell(found.get(watcher.job_id, GONE))
        finally:  # whatever ended the polling, no watcher may wait for it
            for watcher in self._watchers:
                watcher.end()

    async def _found(self, ready: Iterable[Watcher]) -> Mapping[str, News]:
        """News by job id; empty if all streams must end."""
        seen: dict[str, int] = {}
        for watcher in ready:
            seen[watcher.job_id] = min(watcher.seen, seen.get(watcher.job_id, watcher.seen))
        if not seen or self._closing.is_set():
            return {}
        try:
            return await run_in_threadpool(look, self._database, seen)
        except DatabaseUnavailable:
            return {}


def look(database: Database, seen: Mapping[str, int], moving: Collection[JobState] = MOVING) -> Mapping[str, News]:
    """The news of each job since the last seen event, by job id, without deleted jobs.

    Progress is read for jobs in the states `moving` and for those with new events.
    """
    with database.reading() as session:
        standing = events.standing(session, list(seen))
        behind = {job_id: seen[job_id] for job_id, at in standing.items() if at.last_id > seen[job_id]}
        unseen = events.after_each(session, behind, MOST_AT_ONCE)
        moved = [job_id for job_id, at in standing.items() if job_id in behind or at.state in moving]
        tallies: Mapping[str, Sequence[PhaseTally]] = jobs.progress(session, moved) if moved else {}
    news: dict[str, News] = {}
    for job_id, at in standing.items():
        found = tuple(unseen.get(job_id, ()))
        progress = progress_view(tallies[job_id]) if job_id in tallies else None
        told = found[-1].id if found else seen[job_id]
        news[job_id] = News(found, progress, over=at.state.terminal and told >= at.last_id)
    return news
