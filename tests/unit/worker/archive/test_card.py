import json

import pytest

from app.domain.spec.guidance import Objective
from tests.unit.worker import tiny
from worker.archive.card import GUIDANCE, card


def test_the_report_is_a_table_with_its_verdict(contents):
    text = card(contents(), ("a/b", "daisy", "tulip"))
    assert "| random real images | 6 | 94.0 ± 1.0 | 92.0 to 96.0 | +3.0 (2.0 to 4.0) |" in text
    assert "| guided (this set) | 6 | 97.0 | one seed |  |" in text
    assert "The guided set beats random real images by 3.0 points." in text


def test_a_job_without_evaluation_says_so(contents):
    assert "This job has no evaluation" in card(contents(summary=None), ("a",))


def test_the_header_pins_the_split_whatever_the_classes_are_called(contents):
    header = card(contents(), ("test",)).split("---\n")[1]
    configs = next(line for line in header.splitlines() if line.startswith("configs: "))
    assert json.loads(configs.removeprefix("configs: "))[0]["data_files"] == [{"split": "train", "path": "train/**"}]


def test_the_size_category_follows_the_number_of_images(contents):
    assert 'size_categories: ["n<1K"]' in card(contents(), ("a",))


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({}, "| Guidance | mmd, rbf kernel, bandwidth median, scale 0.8 (relative) |"),
        ({"kernel_bandwidth": [4, 8.5]}, "| Guidance | mmd, mean of rbf kernels, bandwidths 4, 8.5, scale 0.8 (relative) |"),
        ({"kernel_bandwidth": "0.5x"}, "| Guidance | mmd, rbf kernel, bandwidth 0.5 x median, scale 0.8 (relative) |"),
        (
            {"kernel_bandwidth": ["0.5x", 4]},
            "| Guidance | mmd, mean of rbf kernels, bandwidths 0.5 x median, 4, scale 0.8 (relative) |",
        ),
        ({"kernel_bandwidth": 4}, "| Guidance | mmd, rbf kernel, bandwidth 4, scale 0.8 (relative) |"),
        ({"kernel": "polynomial"}, "| Guidance | mmd, polynomial kernel, scale 0.8 (relative) |"),
        (
            {"kernel": "laplacian", "guidance": {"objective": "induced-distance", "distance": "squared"}},
            "| Guidance | squared induced-distance, laplacian kernel, bandwidth median, scale 0.8 (relative) |",
        ),
        ({"guidance": {"objective": "energy"}}, "| Guidance | energy, scale 0.8 (relative) |"),
        ({"guidance": {"objective": "energy"}}, "| Rank and distance | rbf kernel, bandwidth median |"),
        (
            {"guidance": {"objective": "mode", "scale": 0.1, "scale_mode": "paper"}},
            "| Guidance | mode, scale 0.1 (paper) |",
        ),
        ({"guidance": {"scale": 0}}, "| Guidance | none |"),
        ({}, "| Sampling | ddpm, 50 steps |"),
        (
            {"sampling": {"cfg_scale": 4, "prompt": "a {class}", "negative_prompt": "blurry"}},
            "| Sampling | ddpm, 50 steps, classifier-free guidance 4, prompt `a {class}`, negative prompt `blurry` |",
        ),
    ],
)
def test_the_card_says_what_guided_the_images_and_what_ranked_them(contents, fields, row):
    assert row in card(contents(spec=tiny.spec(**fields)), ("a",))


@pytest.mark.parametrize("objective", Objective)
def test_the_card_says_how_every_objective_guides(contents, objective):
    assert GUIDANCE[objective] in card(contents(spec=tiny.spec(guidance={"objective": objective})), ("a",))


def test_warnings_stand_before_the_report(contents):
    assert "## Warnings" not in card(contents(), ("a",))
    text = card(contents(warnings=["48 of 50 guided steps had no gradient"]), ("a",))
    assert "\n\n## Warnings\n\n- 48 of 50 guided steps had no gradient\n\n" in text
    assert text.index("## Warnings") < text.index("95 % interval")


def test_an_interval_that_is_not_there_is_no_range(contents):
    equal = {"arm": "guided", "label": "guided", "mean": 97.0, "sd": 0.0, "ci95": None, "n": 2, "images": 6}
    other = {"arm": "unguided", "label": "unguided", "mean": 95.0, "sd": 0.0, "ci95": None, "n": 2, "images": 6}
    differences = [{"arm": "unguided", "mean": 2.0, "ci95": None}]
    text = card(
        contents(summary={"protocol": "small", "arms": [equal, other], "differences": differences, "verdict": ""}), ("a",)
    )
    assert "| guided | 6 | 97.0 ± 0.0 | no spread |  |" in text
    assert "| unguided | 6 | 95.0 ± 0.0 | no spread | +2.0 (no interval) |" in text


def test_the_card_is_closed_against_what_uris_prompts_and_warnings_say(contents):
    hostile = "`|\n# owned <img src=x> [x](https://evil.example)"
    spec = tiny.spec(sampling={"cfg_scale": 4, "prompt": f"{{class}} {hostile}", "negative_prompt": hostile})
    spec = spec.model_copy(update={"dataset_uri": f"file:///{hostile}", "backbone": hostile})
    lines = card(contents(spec=spec, warnings=[hostile]), ("a",)).splitlines()
    escaped = "`|\\x0a# owned <img src=x> [x](https://evil.example)".replace("|", r"\|")
    assert f"| Source | ``file:///{escaped}`` |" in lines
    assert f"| Backbone | `` {escaped} `` |" in lines
    assert f"prompt ``{{class}} {escaped}``, negative prompt `` {escaped} `` |" in "\n".join(lines)
    assert r"- \`\|\\x0a\# owned \<img src\=x\> \[x\](https:\/\/evil.example)" in lines
    assert not [line for line in lines if line.startswith("# owned")]
