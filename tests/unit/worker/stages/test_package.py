import io
import json
import zipfile
from dataclasses import asdict, replace

import pytest

from app.domain.errors import Cancelled
from app.domain.job import TaskKind, WarningCode
from app.domain.plan import later_tasks
from app.domain.spec.evaluation import Arm
from worker.archive.markdown import plain
from worker.stages.context import Publication
from worker.stages.outputs import ComputedOn
from worker.stages.package import agreed, package
from worker.stages.prepare import prepare
from worker.stages.sample import sample_classes

pytestmark = pytest.mark.slow


@pytest.fixture
def packaged(job):
    """packaged(*groups, **fields) is a job whose sample tasks are these groups of classes, and what it published."""

    def new(*groups, **fields):
        one = job(ipc=2, **fields)
        prepared = one.run(prepare, TaskKind.PREPARE)
        assert prepared.output.classes == ("7", "3")
        for task in one.finished[TaskKind.PREPARE]:
            task.output["seconds"] = 1.0
        for group in groups or (["7", "3"],):
            one.run(sample_classes, TaskKind.SAMPLE, arm=Arm.GUIDED, classes=group)
            one.finished[TaskKind.SAMPLE][-1].output["seconds"] = 1.0
        done = one.done = one.run(package, TaskKind.PACKAGE)
        assert done.publication is not None
        return one, done.publication

    return new


def opened(one, published: Publication) -> zipfile.ZipFile:
    with one.worker.store.open(published.archive.key) as stream:
        return zipfile.ZipFile(io.BytesIO(stream.read()))


def test_the_same_job_gives_the_same_archive_to_the_byte_and_another_seed_another(packaged):
    first, again, other = (packaged(seed=seed)[1] for seed in (1, 1, 2))
    assert (first.archive.sha256, first.preview.sha256) == (again.archive.sha256, again.preview.sha256)
    assert first.archive.sha256 != other.archive.sha256


def test_the_archive_has_one_image_for_each_index_of_each_class(packaged):
    names = opened(*packaged(["7"], ["3"])).namelist()
    folders = [name.rpartition("/")[0] for name in names if name.startswith("train/") and name.endswith(".png")]
    assert sorted(folders) == ["train/3", "train/3", "train/7", "train/7"]


def test_the_manifest_holds_the_spec_and_the_revision_of_the_backbone(packaged):
    one, published = packaged()
    manifest = json.loads(opened(one, published).read("manifest.json"))
    assert manifest["spec"] == one.spec.content
    assert one.worker.backbones.get("tiny").revision in json.dumps(manifest)


def test_the_manifest_tells_how_the_samples_were_computed_and_not_how_they_were_packed(packaged):
    one, published = packaged(["7"], ["3"])
    told = json.loads(opened(one, published).read("manifest.json"))["provenance"]
    settings = one.worker.settings
    assert (told["device"], told["threads"], told["batch_size"]) == ("cpu", settings.threads, settings.batch_size)
    assert (told["dtype"], told["compile"]) == (settings.dtype, settings.compile)


def test_where_workers_differ_every_value_is_told_once():
    one = ComputedOn(device="cuda", threads=2, dtype="auto", compile=False, batch_size=8)
    other = replace(one, device="cpu")
    assert agreed([one, other, one]) == asdict(one) | {"device": ["cpu", "cuda"]}
    assert agreed([one]) == asdict(one)
    assert agreed([]) == {}


def test_the_metrics_are_json_and_say_how_strong_guidance_was(packaged):
    one, published = packaged(steps=3)
    metrics = json.loads(json.dumps(published.metrics, allow_nan=False))
    assert metrics["guidance"]["ratio_per_step"] == pytest.approx([one.spec.guidance.scale] * 3, rel=1e-5)
    assert metrics["evaluation"] is None


def test_a_job_whose_guidance_vanished_says_so_in_metrics_manifest_and_card(packaged):
    one, published = packaged(["7"], ["3"], kernel_bandwidth=1e-3)
    (warning,) = one.done.warnings
    assert warning.code is WarningCode.GUIDANCE_VANISHED
    assert warning.message.startswith("8 of 8 guided steps had no gradient")
    archive = opened(one, published)
    assert published.metrics["warnings"] == [{"code": "guidance_vanished", "message": warning.message}]
    assert json.loads(archive.read("manifest.json"))["warnings"] == [warning.message]
    assert f"- {plain(warning.message)}\n" in archive.read("README.md").decode()
    assert published.metrics["guidance"]["without_gradient"] == [1.0, 1.0]


def test_a_guided_job_is_not_warned_and_has_its_distances(packaged):
    one, published = packaged(["7"], ["3"], steps=3, guidance={"stop": 0.5})
    assert (list(one.done.warnings), published.metrics["warnings"]) == ([], [])
    guidance = json.loads(json.dumps(published.metrics, allow_nan=False))["guidance"]
    assert guidance["without_gradient"] == [0.0, 0.0, None]
    assert [(one["classes"], one["mean"] > 0) for one in guidance["median_distance"]] == [(2, True)] * 2


def test_the_archive_is_packed_without_a_look_at_the_dataset(packaged, monkeypatch):
    one, published = packaged()
    monkeypatch.setattr(one.worker.datasets, "same", None)
    one.finished[TaskKind.PACKAGE].clear()
    done = one.run(package, TaskKind.PACKAGE)
    assert done.publication.archive.sha256 == published.archive.sha256


def test_the_preview_is_the_picture_in_the_archive(packaged):
    one, published = packaged()
    with one.worker.store.open(published.preview.key) as stream:
        assert stream.read() == opened(one, published).read("preview.png")


def test_every_image_is_told_twice_and_the_last_is_the_planned_total(packaged):
    one, _ = packaged(["7"], ["3"])
    (planned,) = (task.total for task in later_tasks(one.spec, ["7", "3"]) if task.kind is TaskKind.PACKAGE)
    done = [units for units, _ in one.reports[-40:]]
    assert planned == 2 * 4
    assert max(done) == planned
    assert done[-1] == planned


@pytest.mark.parametrize("at", [0, 1, 4, 7, 9])
def test_packing_stops_where_a_report_raises(packaged, at):
    one, _ = packaged()
    ticks = []

    def report(done, _total):
        ticks.append(done)
        if len(ticks) > at:
            raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        package(replace(one.context(TaskKind.PACKAGE), report=report), one.worker)
    assert len(ticks) == at + 1


def test_the_metrics_say_how_the_set_lies_among_the_real_images(packaged):
    _, published = packaged(reference={"count": 8})
    assert set(published.metrics["set"]) == {
        "mmd2",
        "diversity",
        "real_diversity",
        "density",
        "coverage",
        "nearest_real",
        "real_to_real",
        "pattern_coverage",
        "pattern_coverage_expected",
    }


def test_noise_is_warned_of_in_job_metrics_and_manifest(job):
    one = job(ipc=25, classes=("7", "3"), reference={"count": 64})
    one.run(prepare, TaskKind.PREPARE)
    one.run(sample_classes, TaskKind.SAMPLE, arm=Arm.GUIDED, classes=["7", "3"])
    for kind in (TaskKind.PREPARE, TaskKind.SAMPLE):
        one.finished[kind][0].output["seconds"] = 1.0
    done = one.run(package, TaskKind.PACKAGE)
    (warning,) = done.warnings
    assert warning.code is WarningCode.LOW_COVERAGE
    assert done.publication.metrics["warnings"] == [asdict(warning)]
    assert json.loads(opened(one, done.publication).read("manifest.json"))["warnings"] == [warning.message]
