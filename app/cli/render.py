"""Jobs and metrics as tables and lines of text."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.domain.text import printable, printable_lines
from app.schemas import AttemptView, BackboneView, JobDetail, JobSummary, WorkerView

GUIDED = "guided"
ACCURACY = "accuracy ± sd"
NUMBERS = ("images", ACCURACY, "95 % interval", "guided is ahead by", "weights", "memory")


def job_lines(jobs: Sequence[JobSummary]) -> Iterator[str]:
    """A heading, and one line per job. The dataset is last, so that a long line wraps and loses
    nothing.
    """
    rows = [("job", "state", "phase", "done", "ipc", "created", "dataset")]
    for job in jobs:
        done = f"{job.progress.fraction:.0%}"
        rows.append((job.id, job.state, job.phase or "", done, str(job.ipc), _local(job.created_at), job.dataset_uri))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *cells, last in rows:
        yield printable("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), last]))


def backbone_table(backbones: Iterable[BackboneView]) -> Table:
    """One row per backbone."""
    table = _table("backbone", "family", "classes", "taps", "images", "weights")
    for item in backbones:
        numbers = f"{item.label_count} without names"
        classes = "any, by words" if item.prompted else _abridged(item.classes) if item.classes else numbers
        named = f"{item.taps[0]} to {item.taps[-1]}" if item.taps else item.tap_pattern
        taps = f"1-{len(item.taps) or item.tap_count}, {named}"
        images = f"{item.image_size}x{item.image_size}x{item.channels}"
        _add(table, item.name, item.family, classes, taps, images, _size(item.weights_bytes))
    return table


def worker_table(workers: Iterable[WorkerView]) -> Table:
    """One row per worker."""
    table = _table("worker", "queues", "device", "memory", "backbones", "task", "job", "since")
    for item in workers:
        task = f"{item.task.kind} {item.task.ordinal}, attempt {item.task.attempt}" if item.task else ""
        job = item.task.job_id if item.task else ""
        about = (", ".join(item.queues), item.device, f"{item.memory_bytes / 1e9:.1f} GB", ", ".join(item.backbones))
        _add(table, item.name, *about, task, job, _local(item.started_at))
    return table


def job_summary(job: JobDetail, metrics: Mapping[str, Any] | None, failed: Sequence[AttemptView] = ()) -> RenderableType:
    """All facts about one job: its state, spec, failures and metrics."""
    lines = Table.grid(padding=(0, 2))
    for name, value in _facts(job, failed):
        lines.add_row(Text(name, style="bold"), Text(printable_lines(value)))
    return Group(lines, *measurements(metrics))


def measurements(metrics: Mapping[str, Any] | None) -> list[RenderableType]:
    """The evaluation as a table with its verdict, and the duration of each phase; may be empty."""
    if not metrics:
        return []
    evaluation = metrics.get("evaluation")
    measured: list[RenderableType] = [Text(), evaluation_table(evaluation)] if evaluation else []
    if evaluation and evaluation.get("verdict"):
        measured.append(Text(printable_lines(str(evaluation["verdict"]))))
    if timings := metrics.get("timings"):
        measured.append(Text(printable("  ".join(f"{name} {seconds:.0f} s" for name, seconds in timings.items())), style="dim"))
    return measured


def evaluation_table(evaluation: Mapping[str, Any]) -> Table:
    """Test accuracy of each arm in percent, and the lead of the guided arm over it in points."""
    table = _table("trained on", "images", ACCURACY, "95 % interval", "guided is ahead by")
    ahead = {difference["arm"]: difference for difference in evaluation["differences"]}
    for arm in evaluation["arms"]:
        lead = ahead.get(arm["arm"])
        _add(
            table,
            arm["arm"].replace("_", " "),
            f"{arm['images']:,}",
            _accuracy(arm),
            _interval(arm["ci95"], without="one seed" if arm["sd"] is None else "no spread"),
            f"{lead['mean']:+.1f} ({_interval(lead['ci95'], without='no interval')})" if lead else "",
            style="bold" if arm["arm"] == GUIDED else None,
        )
    return table


def _accuracy(arm: Mapping[str, Any]) -> str:
    spread = "" if arm["sd"] is None else f" ± {arm['sd']:.1f}"
    return f"{arm['mean']:.1f}{spread} % (n={arm['n']})"


def _interval(bounds: tuple[float, float] | None, *, without: str) -> str:
    return f"{bounds[0]:.1f} to {bounds[1]:.1f}" if bounds else without


def _facts(job: JobDetail, failed: Sequence[AttemptView]) -> Iterator[tuple[str, str]]:
    yield "job", job.id
    yield "state", f"{job.state}, {job.phase} ({job.progress.fraction:.0%})" if job.phase else str(job.state)
    if job.failure:
        yield "failure", f"{job.failure.kind}: {job.failure.message}"
    for warning in job.warnings:
        yield "warning", warning.message
    yield "spec", json.dumps(job.spec.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
    yield "created", _local(job.created_at)
    if job.finished_at:
        yield "finished", _local(job.finished_at)
    for phase in job.progress.phases:
        yield phase.phase, f"{phase.done}/{phase.total} in {phase.tasks_done}/{phase.tasks_total} tasks"
    for attempt in failed:
        if attempt.failure:
            yield f"attempt {attempt.number}", f"{attempt.kind} {attempt.ordinal}: {attempt.failure.message}"
    if job.attempts.failed > len(failed):
        yield (
            "attempts",
            f"{job.attempts.failed - len(failed)} more failed; see {job.links.attempts}?outcome=failed&outcome=expired",
        )
    if job.archive:
        yield "archive", f"{_size(job.archive.size_bytes)}, sha256 {job.archive.sha256}"


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(
            heading,
            no_wrap=heading in ("job", ACCURACY),
            overflow="fold",  # do not truncate a name
            justify="right" if heading in NUMBERS else "left",
        )
    return table


def _add(table: Table, *cells: str, style: str | None = None) -> None:
    """Add a row of plain text: without markup, and with control characters escaped."""
    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def _abridged(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])} ... ({len(names)})"
