import hashlib
import math
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from tests.datasets import loaded
from tests.unit.worker import tiny
from tests.unit.worker.file_limit import no_file_longer_than
from tests.unit.worker.references.class_images import CHANNELS, TOKENS, Formula, Unplugged, class_images, plan_of, steps
from worker.disk_cache import DiskCache
from worker.references import modes as k_means
from worker.references.base import ClassImages, ReferenceReport
from worker.references.cache import class_modes, features_key, modes_key, reference_features
from worker.references.features import encoded
from worker.references.selection import MOST_CANDIDATES

pytestmark = pytest.mark.slow

STEPS = steps(900, 700, 500, 300, 100)
EVERY = 7
WIDTH = TOKENS * CHANNELS


class Stop(Exception):
    pass


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache", 1 << 30)


def go_on():
    pass


def refuse(_positions):
    raise AssertionError("an image was read")


def spec(**fields):
    return tiny.spec(**{"reference": {"count": EVERY, "probes": True}} | fields)


def features_of(backbone, of, cache, *, wanted=None, timesteps=STEPS, taps=(1, 3), batch=4, heartbeat=go_on):
    plan = plan_of(wanted or spec(), timesteps, taps)
    return reference_features(plan, backbone, of, cache=cache, batch=batch, heartbeat=heartbeat)


def modes_of(backbone, of, cache, *, ipc=3, batch=4, heartbeat=go_on):
    return class_modes(ipc, backbone, of, cache=cache, batch=batch, heartbeat=heartbeat)


def content(found):
    """Everything that sampling can read of it."""
    probes = [found.probe_at(t) for t in STEPS]
    return [*(found.at(t) for t in STEPS), found.clean, *(block for block in probes if block is not None)]


def same(one, other):
    alike = all(torch.equal(a, b) for a, b in zip(content(one), content(other), strict=True))
    return alike and torch.equal(one.thumbnails, other.thumbnails) and one.report == other.report


def files(tmp_path):
    return {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in (".npy", ".json")}


def test_each_timestep_has_the_features_of_the_references_and_three_those_of_the_class(cache):
    found = features_of(Formula(), class_images(), cache)
    assert found.report.widths == (WIDTH, WIDTH)
    assert [found.at(t).shape for t in STEPS] == [(EVERY, 2 * WIDTH)] * 5
    assert found.clean.shape == (EVERY, 2 * WIDTH)
    probes = [found.probe_at(t) for t in STEPS]
    assert [None if probe is None else probe.shape for probe in probes] == [(20, 2 * WIDTH), None] * 2 + [(20, 2 * WIDTH)]


def test_what_was_found_says_what_it_is(cache):
    assert features_of(Formula(), class_images(), cache).report == ReferenceReport(
        images=20,
        references=EVERY,
        probed=20,
        widths=(WIDTH, WIDTH),
        projection_error_mean=0.0,
        projection_error_max=0.0,
        bytes=(6 * (EVERY + 2) + 3 * (20 + 2)) * 2 * WIDTH * 2 + EVERY * 4 * 4 * 2,
    )


def test_another_timestep_is_refused(cache):
    with pytest.raises(ValueError, match="timestep 42"):
        features_of(Formula(), class_images(), cache).at(torch.tensor(42))


def test_the_cache_costs_eleven_binary_digits_and_nothing_else(cache):
    exact, stored = (features_of(Formula(scale=1e6), class_images(), which) for which in (None, cache))
    for whole, half in zip(content(exact), content(stored), strict=True):
        bound = 2**-11 * (whole - whole.mean(0)).abs() + 2**-22 * 1e6
        assert ((whole - half).abs() <= bound).all()
        assert not torch.equal(whole, half)


def test_a_second_job_reads_no_image_and_runs_no_network(cache):
    made = features_of(Formula(), class_images(), cache)
    found = features_of(Unplugged(), class_images(read=refuse), cache, wanted=spec(seed=7, ipc=50))
    assert same(found, made)


def test_made_found_or_kept_in_memory_the_features_are_the_same(cache, tmp_path):
    made = features_of(Formula(), class_images(), cache)
    (tmp_path / "file").touch()
    refused = features_of(Formula(), class_images(), DiskCache(tmp_path / "file", 1 << 30))
    with no_file_longer_than(2000):
        full = features_of(Formula(), class_images(), DiskCache(tmp_path / "full", 1 << 30))
    assert same(made, refused)
    assert same(made, full)
    assert not list((tmp_path / "full").rglob("*.npy"))


def test_two_caches_have_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        features_of(Formula(), class_images(), DiskCache(tmp_path / name, 1 << 30))
        modes_of(Formula(), class_images(), DiskCache(tmp_path / name, 1 << 30))
    assert files(tmp_path / "one") == files(tmp_path / "other")


@pytest.mark.parametrize(
    "name", ["features.npy", "features.mean.npy", "probes.npy", "probes.mean.npy", "thumbnails.npy", "about.json"]
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_damaged_entry_is_made_again(cache, tmp_path, name, damage):
    made = features_of(Formula(), class_images(), cache)
    before = content(made)
    (file,) = tmp_path.rglob(name)
    whole = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(whole[: -len(whole) // 3] if damage == "truncated" else b"")
    again = features_of(Formula(), class_images(), cache)
    assert all(torch.equal(a, b) for a, b in zip(before, content(again), strict=True))
    assert same(features_of(Unplugged(), class_images(), cache), again)


def test_a_job_that_is_stopped_stops_at_the_next_batch_and_leaves_nothing(cache, tmp_path):
    backbone = Formula()

    def stop():
        if len(backbone.passes) == 3:
            raise Stop

    with pytest.raises(Stop):
        features_of(backbone, class_images(), cache, heartbeat=stop)
    assert len(backbone.passes) == 3
    assert files(tmp_path) == {}


def test_many_jobs_at_once_compute_a_class_once(cache):
    backbones = [Formula() for _ in range(3)]
    found = []
    threads = [
        threading.Thread(target=lambda backbone=backbone: found.append(features_of(backbone, class_images(), cache)))
        for backbone in backbones
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(bool(backbone.passes) for backbone in backbones) == 1
    assert same(found[0], found[1])
    assert same(found[0], found[2])


def test_features_outlive_their_eviction(tmp_path):
    cache = DiskCache(tmp_path, 1)
    cat = features_of(Formula(), class_images(), cache)
    before = content(cat)
    dog = features_of(Formula(), class_images(class_name="dog"), cache)
    assert list((tmp_path / "entries").iterdir()) == []  # both are of one scan, of which the limit has room for none
    assert all(torch.equal(a, b) for a, b in zip(before, content(cat), strict=True))
    assert not torch.equal(dog.clean, cat.clean)


@pytest.mark.parametrize("count", [2, EVERY])
def test_a_class_of_few_images_is_its_own_reference(cache, count):
    for which in (cache, None):
        found = features_of(Formula(), class_images(count), which)
        assert [found.probe_at(t) for t in STEPS] == [None] * 5
        assert (found.report.references, found.report.probed, len(found.clean)) == (count, 0, count)
    assert same(features_of(Unplugged(), class_images(count), cache), features_of(Formula(), class_images(count), cache))


def test_without_timesteps_the_clean_features_are_left(cache):
    found = features_of(Formula(), class_images(), cache, timesteps=[])
    assert found.clean.shape == (EVERY, 2 * WIDTH)


@pytest.mark.parametrize("which", [torch.float32, torch.float64])
def test_features_have_the_dtype_of_latents(cache, which):
    found = features_of(Formula(latent_dtype=which), class_images(), cache)
    assert {block.dtype for block in content(found)} == {which}


BASE = {"guidance": {"projection": 64}, "reference": {"count": EVERY, "selection": "kmeans"}}


def key(*, backbone=None, of=None, timesteps=STEPS, taps=(1, 3), batch=8, **fields):
    return features_key(
        plan_of(tiny.spec(**BASE | fields), timesteps, taps), backbone or Formula(), of or class_images(), batch
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": Formula(revision="2")},
        {"backbone": Formula(dtype=torch.bfloat16)},
        {"backbone": Formula(latent_dtype=torch.float64)},
        {"backbone": Formula(device=torch.device("meta"))},
        {"backbone": Formula(compiled=True)},
        {"batch": 4},
        {"of": class_images(digest="d2")},
        {"of": class_images(first=1)},
        {"of": class_images(19)},
        {"of": class_images(class_name="dog")},
        {"of": class_images(condition=4)},
        {"of": class_images(condition="3")},
        {"taps": (1,)},
        {"taps": (1, 2)},
        {"timesteps": STEPS[1:]},
        {"timesteps": steps(*(float(t) for t in STEPS))},
        {"guidance": {"projection": 65}},
        {"guidance": {"features": "tokens"}},
        {"guidance": {"features": "pooled"}},
        {"reference": {"count": EVERY + 1, "selection": "kmeans"}},
        {"reference": {"count": EVERY, "selection": "random"}},
        {"reference": {"count": EVERY, "selection": "kmeans", "probes": True}},
    ],
    ids="-".join,
)
def test_what_the_features_depend_on_is_in_their_key(changes):
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes",
    [
        {"ipc": 50},
        {"kernel": "laplacian"},
        {"kernel_bandwidth": 3.0},
        {"guidance": {"projection": 64, "objective": "energy"}},
        {"guidance": {"projection": 64, "scale": 3.0, "scale_mode": "paper"}},
        {"seed": 1},
        {"sampling": {"cfg_scale": 4.0}},
        {"evaluation": {}},
    ],
    ids=str,
)
def test_what_they_do_not_depend_on_is_not(changes):
    assert key(**changes) == key()


def test_only_projected_features_depend_on_the_projection():
    tokens = [key(guidance={"features": "tokens", "projection": width}) for width in (64, 128)]
    assert tokens[0] == tokens[1]


def test_the_number_of_threads_is_in_the_key_as_sums_depend_on_it(monkeypatch):
    before = key()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert key() != before


def test_a_key_is_a_sha256_after_what_all_classes_of_a_dataset_share():
    scan, digest = key().split("-")
    assert len(digest) == len(hashlib.sha256().hexdigest())
    assert key(of=class_images(class_name="dog")).startswith(scan)
    assert not key(of=class_images(dataset="file:///other")).startswith(scan)


def test_classes_of_a_folder_are_one_scan_and_changed_images_another_key_in_it(tmp_path):
    def keys():
        dataset = loaded(root, image_size=4)
        return [key(of=class_images_of(dataset, name)).split("-") for name in ("a", "b")]

    def class_images_of(dataset, name):
        members = np.flatnonzero(dataset.train.labels == dataset.classes.index(name))
        given = class_images().conditions
        return ClassImages(name, 3, given, dataset.train.subset(members), dataset.digest_of(name), dataset.uri)

    root = tmp_path / "set"
    for number in range(8):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(path)
    before = keys()
    Image.new("L", (4, 4), 99).save(root / "b" / "3.png")
    after = keys()
    assert len({scan for scan, _ in (*before, *after)}) == 1
    assert before[0] == after[0]
    assert len({before[0][1], before[1][1], after[1][1]}) == 3


def test_nobody_looks_at_the_whole_class_unless_asked(cache):
    found = features_of(Formula(), class_images(), cache, wanted=tiny.spec(reference={"count": EVERY}))
    assert [found.probe_at(t) for t in STEPS] == [None] * 5
    assert found.report.probed == 0


def test_the_modes_are_those_of_the_latents_and_the_same_when_found(cache):
    of = class_images()
    latents = encoded(Formula(), of.split, range(20), batch=20, heartbeat=go_on)
    expected = k_means.modes(latents, 3, class_name="cat")
    assert torch.equal(modes_of(Formula(), of, None), expected)
    assert torch.equal(modes_of(Formula(), of, cache), expected)
    assert torch.equal(modes_of(Unplugged(), class_images(read=refuse), cache), expected)


def test_modes_are_computed_where_the_disk_refuses_them(tmp_path):
    (tmp_path / "file").touch()
    of = class_images()
    assert torch.equal(modes_of(Formula(), of, DiskCache(tmp_path / "file", 1)), modes_of(Formula(), of, None))


def test_the_modes_of_a_class_of_any_size_cost_no_more_than_its_candidates():
    read = []

    def pixels(positions):
        read.extend(positions)
        return np.zeros((len(positions), 4, 4, 1), np.uint8)

    ticks = []
    modes_of(Formula(), class_images(3 * MOST_CANDIDATES, read=pixels), None, batch=1000, heartbeat=lambda: ticks.append(0))
    assert len(read) == len(set(read)) == MOST_CANDIDATES
    assert len(ticks) == math.ceil(MOST_CANDIDATES / 1000)


def test_modes_depend_on_their_number_and_the_images():
    assert modes_key(3, Formula(), class_images(), 8) != modes_key(4, Formula(), class_images(), 8)
    assert modes_key(3, Formula(), class_images(), 8) != modes_key(3, Formula(), class_images(first=1), 8)
