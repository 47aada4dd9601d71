import json

from worker.archive.card import card


def test_the_report_is_a_table_with_its_verdict(contents):
    text = card(contents(), ("a/b", "daisy", "tulip"))
    assert "| random real images | 6 | 94.0 ± 1.0 | 92.0 to 96.0 | +3.0 (2.0 to 4.0) |" in text
    assert "| guided (this set) | 6 | 97.0 | one seed |  |" in text
    assert "The guided set beats random real images by 3.0 points." in text


def test_a_job_without_evaluation_says_so(contents):
    assert "asked for no evaluation" in card(contents(summary=None), ("a",))


def test_the_header_pins_the_split_whatever_the_classes_are_called(contents):
    header = card(contents(), ("test",)).split("---\n")[1]
    configs = next(line for line in header.splitlines() if line.startswith("configs: "))
    assert json.loads(configs.removeprefix("configs: "))[0]["data_files"] == [{"split": "train", "path": "train/**"}]


def test_the_size_category_follows_the_number_of_images(contents):
    assert 'size_categories: ["n<1K"]' in card(contents(), ("a",))
