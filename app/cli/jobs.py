"""`dapple jobs ...`, `download`, `backbones` and `workers`."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from app.cli.console import DEFAULT_URL, AsJson, ExitCode, JobId, Url, answers, complain, connect, messages, print_json
from app.cli.progress import JobProgress
from app.cli.render import backbone_table, job_lines, job_summary, measurements, worker_table
from app.client import Client
from app.domain.job import JobState, Outcome
from app.schemas import JobDetail

UNSUCCESSFUL = (Outcome.FAILED, Outcome.EXPIRED)
FAILURES_SHOWN = 20

jobs = typer.Typer(name="jobs", help="List, show, watch, cancel and delete jobs.", no_args_is_help=True)


@jobs.command("list")
def list_jobs(
    context: typer.Context,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs, newest first.")] = 20,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List jobs, newest first."""
    with connect(context, url) as client:
        found = list(islice(client.list(state=state, page_size=min(limit, 100)), limit))
    if as_json:
        print_json([job.model_dump(mode="json") for job in found])
    else:
        answers.print("\n".join(job_lines(found)) if found else "no jobs", soft_wrap=True)


@jobs.command()
def show(context: typer.Context, job_id: JobId, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Show one job with its progress, failures and measurements."""
    with connect(context, url) as client:
        job = client.get(job_id)
        metrics = metrics_of(client, job)
        failed = list(islice(client.attempts(job_id, outcomes=UNSUCCESSFUL), FAILURES_SHOWN)) if job.attempts.failed else []
    if as_json:
        print_json(document(job, metrics))
    else:
        answers.print(job_summary(job, metrics, failed))


@jobs.command()
def watch(context: typer.Context, job_id: JobId, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Follow a job to its end; the exit code is 1 if it does not succeed."""
    with connect(context, url) as client:
        conclude(client, follow(client, job_id), as_json=as_json)


@jobs.command()
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Stop a job. A job that has ended stays unchanged."""
    with connect(context, url) as client:
        job = client.cancel(job_id)
    if as_json:
        print_json(job.model_dump(mode="json"))
    else:
        answers.print(f"job {job.id} is {job.state}")


@jobs.command()
def delete(context: typer.Context, job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Delete a job that has ended, and its archive."""
    with connect(context, url) as client:
        client.delete(job_id)
    answers.print(f"job {job_id} is deleted")


def download(
    context: typer.Context,
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Default: dapple-JOB.zip in this folder.", show_default=False, dir_okay=False),
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Download a job's archive and verify it. Resumes an interrupted download."""
    with connect(context, url) as client:
        fetch_archive(client, job_id, output or Path(f"dapple-{job_id}.zip"))


def backbones(context: typer.Context, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the diffusion models that a job may use."""
    with connect(context, url) as client:
        found = client.backbones()
    if as_json:
        print_json([backbone.model_dump(mode="json") for backbone in found])
    else:
        answers.print(backbone_table(found))


def workers(context: typer.Context, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the worker processes and their running tasks."""
    with connect(context, url) as client:
        found = client.workers()
    if as_json:
        print_json([worker.model_dump(mode="json") for worker in found])
    else:
        answers.print(worker_table(found) if found else "no workers")


def follow(client: Client, job_id: str) -> JobDetail:
    """Show the job's progress; return the job once it has ended.

    An interrupt does not stop the job.
    """
    try:
        with JobProgress(messages) as progress:
            return client.wait(job_id, progress.show)
    except KeyboardInterrupt as interrupt:
        complain(f"job {job_id} goes on; watch it again with `dapple jobs watch {job_id}`")
        raise typer.Exit(ExitCode.INTERRUPTED) from interrupt


def conclude(client: Client, job: JobDetail, *, as_json: bool) -> None:
    """Print how the job ended. Raises typer.Exit with code 1 unless it succeeded."""
    metrics = metrics_of(client, job)
    if as_json:
        print_json(document(job, metrics))
    else:
        answers.print(f"job {job.id} {job.state}", *measurements(metrics), sep="\n")
    for warning in job.warnings:
        complain(f"warning: {warning.message}")
    if job.state is not JobState.SUCCEEDED:
        complain(f"job {job.id} {job.state}" + (f": {job.failure.message}" if job.failure else ""))
        raise typer.Exit(ExitCode.FAILED)


def fetch_archive(client: Client, job_id: str, path: Path) -> None:
    """Download the archive to `path` and show the progress."""
    columns = (TextColumn("download"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task("download")
        archive = client.download(job_id, path, lambda done, total: bar.update(task, completed=done, total=total))
    messages.print(f"{path}: {archive.size_bytes:,} bytes, sha256 {archive.sha256} verified", markup=False, soft_wrap=True)


def metrics_of(client: Client, job: JobDetail) -> Mapping[str, Any] | None:
    """The job's metrics, or None if it has no archive."""
    return client.metrics(job.id) if job.links.metrics else None


def document(job: JobDetail, metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """The job as JSON, with its metrics."""
    return job.model_dump(mode="json") | {"metrics": metrics}
