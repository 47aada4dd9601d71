"""`dapple demo`: start a service, run one job on the bundled digits, and print its results."""

import subprocess
import sys
import time
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.access_token import RunningService, read_service
from app.cli.console import ExitCode, answers, complain, messages
from app.cli.jobs import conclude, fetch_archive
from app.cli.progress import JobProgress
from app.client import Client
from app.domain.errors import DappleError
from app.domain.job import JobState
from app.domain.spec.bandwidth import MEDIAN
from app.domain.spec.evaluation import Evaluation
from app.domain.spec.job_spec import DistillationSpec
from app.schemas import JobDetail

SPEC = DistillationSpec(dataset_uri="sklearn://digits", ipc=10, kernel_bandwidth=MEDIAN, evaluation=Evaluation())
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.1


class ServiceFailed(DappleError):
    """The demo's own service did not start."""


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the archive and the pictures.")] = Path("demo-output"),
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the service. Default: service/ in the output folder.")
    ] = None,
) -> None:
    """Distil scikit-learn's digits to 10 images per class, and compare them with real ones.

    Starts its own service and stops it at the end. After an interruption, the next start resumes
    the job.
    """
    began = time.monotonic()
    try:
        with own_service((data_dir or output / "service").resolve()) as client:
            job = distilled(client)
            if job.state is JobState.SUCCEEDED:
                keep(client, job, output)
            conclude(client, job, as_json=False)
    except KeyboardInterrupt as interrupt:
        complain("stopped; the same command goes on where it was")
        raise typer.Exit(ExitCode.INTERRUPTED) from interrupt
    answers.print(f"pictures: {output / 'preview.png'}", f"archive: {output / 'digits.zip'}", sep="\n", soft_wrap=True)
    answers.print(f"{time.monotonic() - began:.0f} s in all", style="dim")


def distilled(client: Client) -> JobDetail:
    """The demo's job once it has ended. Resumes an interrupted job, else submits a new one."""
    ended = sum(job.state.terminal for job in client.list())
    job = client.submit(SPEC, idempotency_key=f"demo-{SPEC.digest[:16]}-{ended}")
    messages.print(f"distilling {SPEC.dataset_uri} to {SPEC.ipc} images per class, job {job.id}", soft_wrap=True)
    with JobProgress(messages) as progress:
        return client.wait(job.id, progress.show)


def keep(client: Client, job: JobDetail, folder: Path) -> None:
    """Save the verified archive and its preview to the folder."""
    fetch_archive(client, job.id, folder / "digits.zip")
    with zipfile.ZipFile(folder / "digits.zip") as archive:
        (folder / "preview.png").write_bytes(archive.read("preview.png"))


@contextmanager
def own_service(data_dir: Path) -> Generator[Client]:
    """A client of a service that ends with the block, and with this process at the latest."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = data_dir / "service.log"
    command = [sys.executable, "-P", "-m", "app.cli", "up", "--port", "0", "--data-dir", str(data_dir), "--with-parent"]
    with log.open("wb") as sink:
        # Its own process group: Ctrl-C reaches only the demo, which then stops the service.
        service = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sink, stderr=sink, process_group=0)  # noqa: S603 - our own interpreter
    try:
        running = _announced(service, data_dir, log)
        with Client(running.url, access_token=lambda _: running.token) as client:
            yield client
    finally:
        service.terminate()
        try:
            service.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
        if service.stdin:
            service.stdin.close()


def _announced(service: subprocess.Popen[bytes], data_dir: Path, log: Path) -> RunningService:
    """What the service writes when it is ready.

    A killed service leaves a file with another process.
    """
    while service.poll() is None:
        running = read_service(data_dir)
        if running is not None and running.pid == service.pid:
            return running
        time.sleep(LOOK_SECONDS)
    raise ServiceFailed(f"the service did not start:\n{log.read_text(errors='replace')[-2000:]}")
