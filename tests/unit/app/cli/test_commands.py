import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import main
from app.cli.console import complain, print_json
from app.cli.distil import FIELDS, requested
from tests.unit.app.fake_service import ARCHIVE, Service, job, listed, refuses, says

METRICS = {
    "evaluation": {
        "protocol": "small",
        "unit": "percent",
        "arms": [
            {"arm": "random_real", "mean": 94.4, "sd": 0.6, "ci95": [93.8, 95.0], "n": 3, "images": 100},
            {"arm": "guided", "mean": 97.1, "sd": 0.4, "ci95": [96.6, 97.6], "n": 3, "images": 100},
            {"arm": "full", "mean": 99.0, "sd": None, "ci95": None, "n": 1, "images": 1347},
        ],
        "differences": [{"arm": "random_real", "mean": 2.7, "ci95": [2.0, 3.4]}],
        "verdict": "guided beats random real images",
    },
    "timings": {"preparing": 2.0, "sampling": 40.4},
}


def run(service: Service, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments, connect=lambda url: service.client(retries=0))
    assert ended.value.code is None or isinstance(ended.value.code, int)
    return ended.value.code or 0


def ended_service(state: str = "succeeded", **changes: Any) -> Service:
    links = job()["links"] | {"metrics": "/v1/jobs/J1/metrics"}
    ended = job(state) | {"links": links} | changes

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            headers = {"Content-Type": "text/event-stream"}
            return httpx.Response(200, headers=headers, text=f"id: 1\nevent: job.{state}\ndata: {{}}\n\n")
        if request.url.path.endswith("/metrics"):
            return httpx.Response(200, json=METRICS)
        return httpx.Response(202 if request.method == "POST" else 200, json=ended)

    return Service(answer)


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")


def test_an_unreachable_service_is_exit_code_3_and_says_what_to_do(capsys: pytest.CaptureFixture[str]):
    assert run(Service(refuses), "jobs", "list") == 3
    assert "start one with `dapple up`" in capsys.readouterr().err


def test_a_rejected_spec_is_exit_code_2_and_names_the_field(capsys: pytest.CaptureFixture[str]):
    problem = {
        "type": "t",
        "title": "Invalid job",
        "status": 422,
        "errors": [{"field": "ipc", "message": "must be at most 100"}],
    }

    assert run(Service(says(problem, 422)), "distil", "sklearn://digits", "--ipc", "1000") == 2
    assert "ipc: must be at most 100" in capsys.readouterr().err


def test_an_error_of_the_service_is_exit_code_1():
    assert run(Service(says({"type": "t", "title": "Internal error", "status": 500}, 500)), "jobs", "show", "J1") == 1


@pytest.mark.parametrize("arguments", [["nonsense"], ["distil"], ["distil", "x", "--ipc", "many"], ["distil", "/not/there"]])
def test_wrong_usage_is_exit_code_2(arguments: Sequence[str]):
    assert run(Service(refuses), *arguments) == 2


def test_distil_sends_only_what_was_asked_for():
    service = Service(says(job("queued"), 202))

    code = run(
        service, "distil", "sklearn://digits", "--bandwidth", "12.5", "--kernel", "rbf", "--classes", "0,1", "--evaluate"
    )

    assert code == 0
    assert json.loads(service.requests[0].content) == {
        "dataset_uri": "sklearn://digits",
        "ipc": 10,
        "kernel": "rbf",
        "kernel_bandwidth": 12.5,
        "classes": ["0", "1"],
        "evaluation": {},
    }


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("median", "median"),
        ("0.5x", "0.5x"),
        ("4", 4.0),
        ("4,8.5,16", [4.0, 8.5, 16.0]),
        ("0.5x,4", ["0.5x", 4.0]),
        ("4,", [4.0, ""]),
        ("wide,4", ["wide", 4.0]),
    ],
)
def test_a_comma_makes_a_list_of_bandwidths_and_words_are_left_to_the_service(text: str, sent: object):
    service = Service(says(job("queued"), 202))

    assert run(service, "distil", "sklearn://digits", "--bandwidth", text) == 0
    assert json.loads(service.requests[0].content)["kernel_bandwidth"] == sent


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("3", 3),
        ("0.3", 0.3),
        ("1.0", 1.0),
        ("-1", -1),
        ("mid_block", "mid_block"),
        ("4,0.5,mid_block", [4, 0.5, "mid_block"]),
    ],
)
def test_a_tap_is_a_number_a_fraction_a_name_or_several(text: str, sent: object):
    service = Service(says(job("queued"), 202))

    assert run(service, "distil", "sklearn://digits", f"--tap={text}") == 0
    body = json.loads(service.requests[0].content)
    assert repr(body["guidance"]["tap"]) == repr(sent)


def test_classes_are_mapped_one_by_one_and_prompts_are_sent_as_they_are():
    service = Service(says(job("queued"), 202))
    prompts = ("--prompt", "a {class}, 1=1", "--negative-prompt", "blur")

    code = run(service, "distil", "sklearn://digits", "--class-map", "a=7", "--class-map", "b=tabby=cat", *prompts)

    assert code == 0
    body = json.loads(service.requests[0].content)
    assert body["class_map"] == {"a": "7", "b": "tabby=cat"}
    assert body["sampling"] == {"prompt": "a {class}, 1=1", "negative_prompt": "blur"}


@pytest.mark.usefixtures("wide_terminal")
def test_backbones_are_listed_with_what_they_can_draw(capsys: pytest.CaptureFixture[str]):
    digits = {
        "name": "digits",
        "family": "dit",
        "prompted": False,
        "classes": ["0", "1"],
        "wordnet": False,
        "taps": ["transformer_blocks.0", "transformer_blocks.1"],
        "schedulers": ["ddpm"],
        "learned_variance": False,
        "image_size": 8,
        "channels": 1,
        "weights_bytes": 4_800_000,
    }
    words = digits | {"name": "words", "family": "stable-diffusion", "prompted": True, "classes": [], "taps": ["mid_block"]}

    deep = digits | {
        "name": "deep",
        "classes": [],
        "label_count": 9,
        "taps": [],
        "tap_count": 99,
        "tap_pattern": "blocks.{0..98}",
    }

    assert run(Service(says({"items": [digits, words, deep]})), "backbones") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[0] == "digits"
    assert "0, 1" in lines[1]
    assert "1-2, transformer_blocks.0 to transformer_blocks.1" in lines[1]
    assert "any, by words" in lines[2]
    assert "9 without names" in lines[3]
    assert "1-99, blocks.{0..98}" in lines[3]


@pytest.mark.usefixtures("wide_terminal")
def test_workers_are_listed_with_what_they_run(capsys: pytest.CaptureFixture[str]):
    idle = {
        "name": "gpu-7:1:ab",
        "queues": ["cpu", "gpu"],
        "device": "cuda:0",
        "memory_bytes": 80_000_000_000,
        "backbones": ["embedded/digits"],
        "started_at": "2026-01-31T12:00:00Z",
        "seen_at": "2026-01-31T12:00:00Z",
    }
    task = {"id": "T1", "job_id": "J1", "kind": "sample", "ordinal": 3, "attempt": 2}
    busy = idle | {"name": "gpu-8:1:cd", "task": task}

    assert run(Service(says({"items": [idle, busy]})), "workers") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(told in lines[1] for told in ("gpu-7:1:ab", "cpu, gpu", "cuda:0", "80.0 GB", "embedded/digits"))
    assert "sample 3, attempt 2" in lines[2]
    assert "J1" in lines[2]


def test_without_workers_the_command_says_so(capsys: pytest.CaptureFixture[str]):
    assert run(Service(says({"items": []})), "workers") == 0
    assert capsys.readouterr().out.strip() == "no workers"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["0,1"], ["0", "1"]),
        ([r"Pepper\,_bell,rose"], ["Pepper,_bell", "rose"]),
        (['"Pepper,_bell",rose'], ["Pepper,_bell", "rose"]),
        (["Pepper,_bell", " rose"], ["Pepper,_bell", " rose"]),
        ([" rose"], [" rose"]),
    ],
)
def test_classes_are_a_list_with_commas_or_an_option_each(given: list[str], sent: list[str]):
    service = Service(says(job("queued"), 202))
    options = [part for name in given for part in ("--classes", name)]
    assert run(service, "distil", "sklearn://digits", *options) == 0
    assert json.loads(service.requests[0].content)["classes"] == sent


def test_a_list_of_classes_that_is_cut_off_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    assert run(Service(refuses), "distil", "sklearn://digits", "--classes", '"Pepper,_bell') == 2
    assert "--classes" in capsys.readouterr().err


def test_a_mapping_without_a_label_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    assert run(Service(refuses), "distil", "sklearn://digits", "--class-map", "cat") == 2
    assert "'cat' is not NAME=LABEL" in capsys.readouterr().err


EMBEDDED = {
    "name": "embedded/digits",
    "family": "dit",
    "prompted": False,
    "classes": ["0", "1"],
    "wordnet": False,
    "taps": ["transformer_blocks.0"],
    "schedulers": ["ddpm"],
    "learned_variance": False,
    "image_size": 8,
    "channels": 1,
    "weights_bytes": 4_800_000,
}


def with_backbones(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/v1/backbones":
        return httpx.Response(200, json={"items": [EMBEDDED]})
    return httpx.Response(202, json=job())


def test_a_service_that_cannot_list_backbones_still_takes_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    broken = says({"type": "about:blank", "title": "Internal Server Error", "status": 500, "detail": "odd folder"}, 500)
    assert run(Service(broken, with_backbones), "distil", str(tmp_path)) == 0
    assert "no --backbone: embedded/digits draws the digits 0 to 9, and" in capsys.readouterr().err


def test_without_a_backbone_the_default_one_is_described_before_the_job_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    service = Service(with_backbones)
    assert run(service, "distil", str(tmp_path)) == 0
    assert "no --backbone: embedded/digits draws the digits 0 to 9 in 8 x 8 pixels, grey" in capsys.readouterr().err
    assert [request.method for request in service.requests] == ["GET", "POST"]


@pytest.mark.parametrize("arguments", [("sklearn://digits",), (str(Path.cwd()), "--backbone", "mine")])
def test_a_chosen_backbone_and_the_bundled_digits_need_no_word(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]):
    assert run(Service(with_backbones), "distil", *arguments) == 0
    assert "no --backbone" not in capsys.readouterr().err


def test_options_of_one_part_end_up_in_it_together():
    options = dict.fromkeys([*FIELDS, "evaluate"])

    body = requested(options | {"dataset": "sklearn://digits", "ipc": 1, "scale": 0.5, "tap": "3", "steps": 5})

    assert body["guidance"] == {"scale": 0.5, "tap": 3}
    assert body["sampling"] == {"steps": 5}


def test_json_is_all_there_is_on_standard_output(capsys: pytest.CaptureFixture[str]):
    assert run(ended_service(), "distil", "sklearn://digits", "--wait", "--json") == 0

    printed = json.loads(capsys.readouterr().out)

    assert printed["state"] == "succeeded"
    assert printed["metrics"] == METRICS


def test_waiting_for_a_job_that_fails_is_exit_code_1_and_says_why(capsys: pytest.CaptureFixture[str]):
    failure = {"kind": "invalid_input", "message": "class 'cat' is not in the dataset"}

    assert run(ended_service("failed", failure=failure), "distil", "sklearn://digits", "--wait") == 1
    assert "class 'cat' is not in the dataset" in capsys.readouterr().err


def test_an_interrupted_wait_leaves_the_job_running_and_says_how_to_watch_it(capsys: pytest.CaptureFixture[str]):
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    service = Service(says(job("queued"), 202), interrupt)

    assert run(service, "distil", "sklearn://digits", "--wait") == 130
    assert "dapple jobs watch J1" in capsys.readouterr().err
    assert [request.method for request in service.requests] == ["POST", "GET"]


def test_showing_a_job_prints_what_the_distilled_set_is_worth(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "140")

    assert run(ended_service(), "jobs", "show", "J1") == 0

    printed = capsys.readouterr().out
    assert "97.1 ± 0.4 % (n=3)" in printed
    assert "99.0 % (n=1)" in printed
    assert "+2.7 (2.0 to 3.4)" in printed
    assert "guided beats random real images" in printed


def test_an_empty_list_of_jobs_says_so(capsys: pytest.CaptureFixture[str]):
    assert run(Service(says({"items": []})), "jobs", "list") == 0
    assert capsys.readouterr().out == "no jobs\n"


def test_listing_stops_at_the_limit(capsys: pytest.CaptureFixture[str]):
    service = Service(says({"items": [listed("C"), listed("B"), listed("A")], "next_cursor": "more"}))

    assert run(service, "jobs", "list", "--limit", "2", "--json") == 0
    assert [shown["id"] for shown in json.loads(capsys.readouterr().out)] == ["C", "B"]


def test_a_corrupt_download_is_exit_code_1_and_leaves_no_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    wrong = Service(says(job("succeeded", archive=True)), lambda request: httpx.Response(200, content=b"cut off"))

    assert run(wrong, "download", "J1") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_as_the_output_is_refused_before_anything_is_submitted(tmp_path: Path):
    service = Service()

    assert run(service, "distil", "sklearn://digits", "-o", str(tmp_path)) == 2
    assert run(service, "download", "J1", "-o", str(tmp_path)) == 2
    assert service.requests == []


def test_an_output_that_cannot_be_written_is_exit_code_1_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_bytes(b"")
    service = Service(says(job("succeeded", archive=True)))

    assert run(service, "download", "J1", "-o", str(tmp_path / "file" / "out.zip")) == 1
    assert "file/out.zip cannot be written" in capsys.readouterr().err


def test_a_download_without_a_name_is_called_after_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    service = Service(says(job("succeeded", archive=True)), lambda request: httpx.Response(200, content=ARCHIVE))

    assert run(service, "download", "J1") == 0
    assert (tmp_path / "dapple-J1.zip").read_bytes() == ARCHIVE


def test_warnings_are_shown_with_the_job_and_when_it_ends(capsys: pytest.CaptureFixture[str]):
    message = "48 of 50 guided steps had no gradient"
    service = ended_service(warnings=[{"code": "guidance_vanished", "message": message}])
    assert run(service, "jobs", "show", "J1") == 0
    assert f"warning  {message}" in capsys.readouterr().out
    assert run(service, "jobs", "watch", "J1") == 0
    assert f"warning: {message}" in capsys.readouterr().err


HOSTILE = "[/x] [bold] :boom: \x1b[2J \x9b1m \u202e \udce9"
ESCAPED = r"[/x] [bold] :boom: \x1b[2J \x9b1m \u202e \udce9"


def test_names_reach_the_terminal_as_they_are_and_their_control_characters_as_escapes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "300")
    hostile = HOSTILE.replace("\udce9", "é")
    whole = job("failed") | {"failure": {"kind": "invalid_input", "message": hostile}}
    whole["spec"] |= {"dataset_uri": f"file:///{hostile}"}
    whole["warnings"] = [{"code": "low_coverage", "message": hostile}]
    row = listed("J1", "failed") | {"dataset_uri": f"file:///{hostile}"}
    shown = ESCAPED.replace(r"\udce9", "é")

    assert run(Service(says({"items": [row]})), "jobs", "list") == 0
    table = capsys.readouterr().out
    assert run(Service(says(whole)), "jobs", "show", "J1") == 0
    facts = capsys.readouterr().out
    assert shown in facts
    assert f"failure  invalid_input: {shown}" in " ".join(facts.split("\n"))
    assert not {"\x1b", "\x9b", "\u202e"} & set(table + facts)
    assert "file:///" in table


def test_a_job_is_one_line_with_its_whole_id_and_dataset_however_narrow_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "60")
    rows = [listed("01M8C08QXWA1RFN9AJHK6XEXWZ", "failed") | {"dataset_uri": f"file:///{'long/' * 30}"}, listed("J1", "queued")]

    assert run(Service(says({"items": rows})), "jobs", "list") == 0

    heading, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (heading[0], heading[-1]) == ("job", "dataset")
    assert (first[:2], first[-1]) == (["01M8C08QXWA1RFN9AJHK6XEXWZ", "failed"], rows[0]["dataset_uri"])
    assert (second[:2], second[-1]) == (["J1", "queued"], rows[1]["dataset_uri"])


def test_an_error_reaches_the_terminal_with_its_control_characters_as_escapes(capsys: pytest.CaptureFixture[str]):
    complain(HOSTILE)
    assert capsys.readouterr().err == f"dapple: {ESCAPED.replace('udce9', 'xe9')}\n".replace(r"\\", "\\")


def test_a_json_document_on_the_terminal_means_the_same_and_has_no_control_characters(capsys: pytest.CaptureFixture[str]):
    print_json({HOSTILE: [HOSTILE, "é"]})
    out = capsys.readouterr().out
    assert json.loads(out) == {HOSTILE: [HOSTILE, "é"]}
    assert not {"\x1b", "\x9b", "\u202e"} & set(out)
