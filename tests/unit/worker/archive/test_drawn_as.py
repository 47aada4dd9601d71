import io
import json
import zipfile

import pyarrow.parquet as pq
import pytest

from app.domain.labels import Labels
from tests.unit.app.domain.models import labelled, prompted, spec
from worker.archive.drawn_as import MOST_ROWS, DrawnAs, captions, drawn_as, section
from worker.archive.write import write

NAMED = labelled(Labels.of_texts(["tench, Tinca tinca", "English springer"]), label_count=3)
WORDS = prompted()


def test_a_label_is_told_with_its_name_and_a_prompt_as_it_was():
    asked = spec(class_map={"c": 2, "fish": "Tinca tinca"})
    assert drawn_as(["fish", "English_springer", "c"], asked, NAMED) == (
        DrawnAs(label=0, words="tench"),
        DrawnAs(label=1, words="English springer"),
        DrawnAs(label=2),
    )
    assert drawn_as(["french_horn"], spec(), WORDS) == (DrawnAs(prompt="a photo of a french horn"),)


def test_a_caption_adds_what_the_name_does_not_say():
    drawn = (
        DrawnAs(label=0, words="tench"),
        DrawnAs(label=1, words="English springer"),
        DrawnAs(label=2),
        DrawnAs(prompt="a cat"),
    )
    names = ["n01440764", "English_springer", "c", "cat"]
    assert captions(names, drawn) == ["n01440764: tench", "English_springer", "c: label 2", "cat: a cat"]
    assert captions(names, ()) == names


def test_the_card_lists_the_first_classes_and_no_text_leaves_its_cell():
    many = section(["a|b`c\n# d"] * 150, [DrawnAs(prompt="x`y|z")] * 150)
    rows = [line for line in many.splitlines() if line.startswith("| `")]
    assert rows == [r"| ``a\|b`c\x0a# d`` | ``x`y\|z`` |"] * MOST_ROWS
    assert "the other 50" in many
    assert section(["a"], ()) == ""


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_manifest_metadata_and_card_say_what_each_class_was_drawn_as(contents, tmp_path, order):
    given = contents()
    drawn = tuple(DrawnAs(label=label, words=f"w{label}") for label in order)
    write(tmp_path / "a.zip", contents(drawn_as=drawn))
    by_name = dict(zip(given.classes, order, strict=True))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        classes = json.loads(archive.read("manifest.json"))["classes"]
        table = pq.read_table(io.BytesIO(archive.read("train/metadata.parquet"))).to_pydict()
        card = archive.read("README.md").decode()
    assert {one["name"]: one["drawn_as"] for one in classes} == {
        name: {"label": label, "words": f"w{label}"} for name, label in by_name.items()
    }
    assert table["drawn_as"] == [f"label {by_name[name]} (w{by_name[name]})" for name in table["class"]]
    assert all(f"| `{name}` | `label {label} (w{label})` |" in card for name, label in by_name.items())
