"""`dapple distil`: submit a job; optionally wait for it and download its archive."""

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.console import DEFAULT_URL, AsJson, Url, answers, connect, messages, print_json
from app.cli.jobs import conclude, fetch_archive, follow
from app.client import ApiError, Client
from app.domain.dataset_uri import uri_of
from app.domain.job import JobState
from app.domain.spec.bandwidth import Kernel
from app.domain.spec.guidance import Objective, ScaleMode
from app.domain.spec.job_spec import DEFAULT_BACKBONE
from app.domain.spec.sampling import Scheduler
from app.schemas import JobView

FIELDS = {
    "ipc": ("ipc",),
    "kernel": ("kernel",),
    "bandwidth": ("kernel_bandwidth",),
    "backbone": ("backbone",),
    "classes": ("classes",),
    "class_map": ("class_map",),
    "objective": ("guidance", "objective"),
    "scale": ("guidance", "scale"),
    "scale_mode": ("guidance", "scale_mode"),
    "tap": ("guidance", "tap"),
    "steps": ("sampling", "steps"),
    "scheduler": ("sampling", "scheduler"),
    "cfg_scale": ("sampling", "cfg_scale"),
    "prompt": ("sampling", "prompt"),
    "negative_prompt": ("sampling", "negative_prompt"),
    "seed": ("seed",),
}


DATASET_HELP = "A path, or a URI: sklearn://digits, file://, https://, s3:// or hf://."


def distil(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help=DATASET_HELP, show_default=False)],
    ipc: Annotated[int, typer.Option(help="Synthetic images per class.")] = 10,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            help="median, a multiple of it as in 0.5x, or a number in feature units; for rbf also several, as in 0.5x,1x,2x."
        ),
    ] = None,
    kernel: Annotated[Kernel | None, typer.Option(help="Kernel on the backbone's features.")] = None,
    backbone: Annotated[str | None, typer.Option(help="A name from `dapple backbones`.")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help=r"Only these classes, separated by commas; one within a name is written \,. Repeated, each is one name."
        ),
    ] = None,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            help="The backbone's label for a class: a name, a WordNet id, words of a prompt, or a number. Repeatable.",
            metavar="NAME=LABEL",
        ),
    ] = None,
    objective: Annotated[Objective | None, typer.Option(help="The function that guides the images.")] = None,
    scale: Annotated[float | None, typer.Option(help="Guidance scale; 0 is off.")] = None,
    scale_mode: Annotated[ScaleMode | None, typer.Option(help="Unit of the scale.")] = None,
    tap: Annotated[
        str | None,
        typer.Option(help="The block with the compared features: number from 1, name, or fraction of the depth; or several."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    scheduler: Annotated[Scheduler | None, typer.Option(help="Solver of the reverse process.")] = None,
    cfg_scale: Annotated[float | None, typer.Option(help="Scale of classifier-free guidance; 1 is off.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The prompt, with {class} in it; for backbones that take text.")] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="The prompt to move away from; needs a cfg-scale above 1.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random choices.")] = None,
    evaluate: Annotated[bool, typer.Option(help="Train classifiers on the result and on baselines, and compare.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Wait, then download the archive to this file.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Distil a dataset of labelled images into a few synthetic ones per class.

    The service chooses the defaults; see the fields of POST /v1/jobs in its /docs.
    """
    submission = requested(context.params)
    with connect(context, url) as client:
        if backbone is None and submission["dataset_uri"].startswith("file:"):
            messages.print(default_backbone(client), markup=False, soft_wrap=True)
        job = client.submit(submission)
        if not (wait or output):
            print_accepted(job, as_json=as_json)
            return
        messages.print(f"job {job.id} accepted")
        ended = follow(client, job.id)
        if output and ended.state is JobState.SUCCEEDED:
            fetch_archive(client, job.id, output)
        conclude(client, ended, as_json=as_json)


def requested(options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/jobs with only the given options; the service has the defaults."""
    body: dict[str, Any] = {"dataset_uri": uri_of(options["dataset"])}
    for option, (*parts, field) in FIELDS.items():
        if options[option] not in (None, ()):
            value = PARSED.get(option, _as_given)(options[option])
            reduce(lambda part, name: part.setdefault(name, {}), parts, body)[field] = value
    if options["evaluate"]:
        body["evaluation"] = {}
    return body


def default_backbone(client: Client) -> str:
    """A description of the default backbone, which draws small digits.

    Omits its image size if the service cannot list backbones.
    """
    try:
        known = [one for one in client.backbones() if one.name == DEFAULT_BACKBONE]
    except ApiError:
        known = []
    drawn = "".join(
        f" in {one.image_size} x {one.image_size} pixels, {'grey' if one.channels == 1 else 'colour'}" for one in known
    )
    return (
        f"no --backbone: {DEFAULT_BACKBONE} draws the digits 0 to 9{drawn}, and your images are shrunk to that; "
        "`dapple backbones` lists others, `dapple train` makes one of your images"
    )


def print_accepted(job: JobView, *, as_json: bool) -> None:
    """Print the accepted job, which now runs in the background."""
    if as_json:
        print_json(job.model_dump(mode="json"))
    else:
        answers.print(f"job {job.id} accepted; follow it with `dapple jobs watch {job.id}`", soft_wrap=True)


def _as_given(value: Any) -> Any:
    return value


def _classes(given: Sequence[str]) -> list[str]:
    r"""The class names. One value is a list with commas; `\,` or quotes escape a comma in a name.

    Several values are one name each.
    """
    if len(given) > 1:
        return list(given)
    try:
        return [name for names in csv.reader(given, escapechar="\\", strict=True) for name in names]
    except csv.Error as error:
        raise typer.BadParameter(f"{given[0]!r}: {error}", param_hint="--classes") from error


def _class_map(entries: Sequence[str]) -> dict[str, str]:
    """The class map. A number stays a string, because only the service knows if it is a name.

    Raises BadParameter for an entry without `=`.
    """
    parts = [entry.partition("=") for entry in entries]
    if wrong := [name for name, sign, _ in parts if not sign]:
        raise typer.BadParameter(f"{wrong[0]!r} is not NAME=LABEL", param_hint="--class-map")
    return {name: label for name, _, label in parts}


def _bandwidth(text: str) -> float | str | list[float | str]:
    """The bandwidth; a list if the text has a comma. The service refuses invalid values."""
    return [_number_or_word(part) for part in text.split(",")] if "," in text else _number_or_word(text)


def _tap(text: str) -> float | str | list[float | str]:
    """The tap; a list if the text has a comma. A whole number is the number of a block."""
    return [_tap_of(part) for part in text.split(",")] if "," in text else _tap_of(text)


def _tap_of(text: str) -> float | str:
    try:
        return int(text)
    except ValueError:
        return _number_or_word(text)


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


PARSED: Mapping[str, Callable[[Any], Any]] = {
    "bandwidth": _bandwidth,
    "classes": _classes,
    "class_map": _class_map,
    "tap": _tap,
}
