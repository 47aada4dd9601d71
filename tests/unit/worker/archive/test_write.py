import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.datasets import loaded
from tests.unit.worker.archive.conftest import PIXELS, spooled
from worker.archive.write import write


@pytest.fixture
def archive(contents, tmp_path):
    """The archive of the standard contents, open."""
    write(tmp_path / "a.zip", contents())
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        yield opened


def metadata(archive: zipfile.ZipFile) -> dict[str, list]:
    return pq.read_table(io.BytesIO(archive.read("train/metadata.parquet"))).to_pydict()


def test_the_same_contents_give_the_same_bytes(contents, tmp_path):
    for name in ("first.zip", "second.zip"):
        write(tmp_path / name, contents())
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_the_order_in_which_images_arrive_does_not_matter(contents, tmp_path):
    ordered = contents()
    mixed = np.array([3, 0, 5, 1, 4, 2])
    parts = {name: getattr(ordered, name)[mixed] for name in ("labels", "indices", "seeds", "ranks")}
    distances = {name: column[mixed] for name, column in ordered.distances.items()}
    write(tmp_path / "ordered.zip", ordered)
    write(tmp_path / "mixed.zip", contents(images=spooled(PIXELS[mixed]), **parts, distances=distances))
    assert (tmp_path / "ordered.zip").read_bytes() == (tmp_path / "mixed.zip").read_bytes()


def test_every_entry_has_the_same_fixed_time_and_permissions(archive):
    assert {(entry.date_time, entry.external_attr, entry.create_system) for entry in archive.infolist()} == {
        ((1980, 1, 1, 0, 0, 0), 0o644 << 16, 3)
    }


def test_images_lie_in_one_folder_per_class_with_their_exact_pixels(archive):
    images = sorted(name for name in archive.namelist() if name.startswith("train/") and name.endswith(".png"))
    assert images == [f"train/{name}/{name}_{index:03d}.png" for name in ("a_b", "daisy", "tulip") for index in (0, 1)]
    stored = np.asarray(Image.open(archive.open("train/daisy/daisy_001.png")))
    assert np.array_equal(stored, PIXELS[3, :, :, 0])


def test_colour_images_keep_their_colours(contents, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    write(tmp_path / "a.zip", contents(images=spooled(images)))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert np.array_equal(np.asarray(Image.open(archive.open("train/tulip/tulip_000.png"))), images[0])


def test_labels_follow_the_folders_as_loaders_number_them(archive):
    rows = metadata(archive)
    folders = [name.split("/")[0] for name in rows["file_name"]]
    assert [sorted(set(folders))[label] for label in rows["label"]] == folders


def test_metadata_keep_seeds_ranks_distances_and_original_class_names(archive):
    rows = metadata(archive)
    assert list(rows) == ["file_name", "label", "class", "index", "seed", "rank", "mean_distance"]
    at = rows["file_name"].index("a_b/a_b_001.png")
    assert {name: rows[name][at] for name in ("class", "index", "seed", "rank", "mean_distance")} == {
        "class": "a/b",
        "index": 1,
        "seed": 2**62 + 5,
        "rank": 0,
        "mean_distance": 1.0,
    }


def test_metadata_tell_the_hugging_face_loader_the_class_names(archive):
    schema = pq.read_schema(io.BytesIO(archive.read("train/metadata.parquet")))
    hints = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    assert hints["label"] == {"names": ["a/b", "daisy", "tulip"], "_type": "ClassLabel"}
    assert hints["mean_distance"] == {"dtype": "float32", "_type": "Value"}


def test_the_manifest_has_the_hash_of_every_other_file(archive):
    manifest = json.loads(archive.read("manifest.json"))
    assert {name: entry["sha256"] for name, entry in manifest["files"].items()} == {
        name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist() if name != "manifest.json"
    }


def test_the_manifest_has_the_job_and_where_the_set_comes_from(archive, contents):
    manifest = json.loads(archive.read("manifest.json"))
    assert manifest["spec"] == contents().spec.content
    assert manifest["provenance"] == contents().provenance
    assert manifest["evaluation"] == contents().summary
    assert manifest["classes"][0] == {"label": 0, "name": "a/b", "folder": "train/a_b", "images": 2}


def test_the_archive_is_itself_a_dataset_of_this_project(contents, tmp_path: Path):
    write(tmp_path / "a.zip", contents())
    dataset = loaded(tmp_path / "a.zip", holdout_fraction=0.5)
    assert dataset.classes == ("a_b", "daisy", "tulip")
    assert len(dataset.train) + len(dataset.test) == 6


def test_the_preview_has_a_row_per_folder_and_its_images_by_rank(archive):
    sheet = np.asarray(Image.open(archive.open("preview.png")).convert("L"))
    first, second = sheet[4:52, -100:-52], sheet[4:52, -48:]
    assert np.array_equal(first[::6, ::6], PIXELS[5, :, :, 0])  # of class a/b, whose second image has rank 0
    assert sheet.shape[0] == 4 + 3 * 52
    assert second.shape == (48, 48)


def test_the_files_come_in_a_fixed_order_what_describes_them_first(archive):
    names = archive.namelist()
    assert names[:4] == ["README.md", "manifest.json", "preview.png", "train/metadata.parquet"]
    assert names[4:] == sorted(names[4:])


def test_an_image_is_written_at_a_time_and_each_may_stop_the_writing(contents, tmp_path):
    class Stop(Exception):
        pass

    written = []

    def heartbeat():
        written.append(0)
        if len(written) == 3:
            raise Stop

    with pytest.raises(Stop):
        write(tmp_path / "a.zip", contents(), on_image=heartbeat)
    written.clear()
    write(tmp_path / "b.zip", contents(), on_image=lambda: written.append(0))
    assert len(written) == 6


def test_what_describes_the_images_can_be_stopped_too(contents, tmp_path):
    ticks = []
    write(tmp_path / "a.zip", contents(), heartbeat=lambda: ticks.append(0))
    assert len(ticks) > 6  # one for each image in the preview, and one in the manifest


def test_columns_of_another_length_than_the_images_are_refused(contents):
    with pytest.raises(ValueError, match="6 images have 2 ranks"):
        contents(ranks=np.array([0, 1]))


def test_seeds_that_loaders_cannot_read_are_refused(contents):
    with pytest.raises(ValueError, match="more than 63 bits"):
        contents(seeds=np.full(6, 2**63, dtype=np.uint64))
