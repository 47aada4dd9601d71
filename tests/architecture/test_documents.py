"""The documents name files, words and make targets that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PATH = re.compile(r"`((?:app|worker|tests|bench|migrations|docker)/[\w./-]+?)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_names_exists(document: Path):
    text = document.read_text()
    named = [ROOT / path for path in PATH.findall(text)] + [document.parent / link for link in LINK.findall(text)]
    assert [str(path) for path in named if not path.exists()] == []


def test_architecture_says_where_each_of_fifteen_behaviours_is():
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("## Where to find it")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| Behaviour")]
    assert len(rows) == 15
    assert all(PATH.search(row) for row in rows)


def test_make_targets_that_documents_name_exist():
    targets = set(re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {target for document in DOCUMENTS for target in re.findall(r"`make ([a-z-]+)", document.read_text())}
    assert {target for target in named if target not in targets and not target.startswith("bench-")} == set()
    assert all(
        (ROOT / "bench" / f"{target.removeprefix('bench-')}.py").exists()
        for target in named
        if "-" in target and "bench" in target
    )


def test_a_file_has_at_most_300_lines():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("app", "worker")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert long == {}
