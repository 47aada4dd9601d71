from io import StringIO

from rich.console import Console

from app.cli.render import evaluation_table

EVALUATION = {
    "arms": [
        {"arm": "guided", "images": 100, "mean": 97.9, "sd": 0.31, "n": 3, "ci95": (97.1, 98.7)},
        {"arm": "random_real", "images": 1_347, "mean": 9.4, "sd": None, "n": 1, "ci95": None},
    ],
    "differences": [{"arm": "random_real", "mean": 88.5, "ci95": None}],
}


def test_the_numbers_of_the_evaluation_end_in_one_column() -> None:
    console = Console(file=StringIO(), width=200)
    console.print(evaluation_table(EVALUATION))
    heading, guided, random_real = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert guided.split("  ")[0] == "guided"
    assert "random real" in random_real
    column = heading.index("accuracy ± sd") + len("accuracy ± sd")
    ends = [guided.index("(n=3)") + 5, random_real.index("(n=1)") + 5]
    assert ends[0] == ends[1] >= column


def test_an_accuracy_is_on_one_line_however_narrow_the_console() -> None:
    console = Console(file=StringIO(), width=50)
    console.print(evaluation_table(EVALUATION))
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "97.9 ± 0.3 % (n=3)" in printed
