from pathlib import Path

import pytest

from app.domain.dataset_uri import DatasetUri, canonical, parse, resolve_local, uri_of
from app.domain.errors import InvalidSpec


def test_bundled_and_local_datasets_are_parsed() -> None:
    assert parse("sklearn://digits") == DatasetUri("sklearn", name="digits")
    assert parse("file:///a%20b/c") == DatasetUri("file", path=Path("/a b/c"))
    assert parse("file://localhost/a").path == Path("/a")


@pytest.mark.parametrize("uri", ["file:///a?b", "file:///a#b", "sklearn://digits?x"])
def test_no_part_of_a_uri_is_silently_left_out(uri: str) -> None:
    with pytest.raises(InvalidSpec, match="query or fragment"):
        parse(uri)


@pytest.mark.parametrize(
    "uri",
    ["", "digits", "sklearn://iris", "https://x/y", "file://host/x", "file:relative", "file:///a%00b", "http://[", "s3://b/k"],
)
def test_anything_else_is_refused_naming_the_field(uri: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse(uri)
    assert [problem.field for problem in caught.value.problems] == ["dataset_uri"]


def test_a_path_below_a_root_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert resolve_local(parse(f"file://{tmp_path}/link/x"), [tmp_path]) == tmp_path / "real" / "x"


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../outside", "{root}/link/x", "{root}sibling"])
def test_no_path_leads_out_of_the_roots(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    with pytest.raises(InvalidSpec, match="outside"):
        resolve_local(parse("file://" + path.format(root=root)), [root])


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InvalidSpec):
        resolve_local(parse(f"file://{tmp_path}/a/x"), [])


def test_a_plain_path_becomes_a_file_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my images").mkdir()
    monkeypatch.chdir(tmp_path)

    assert uri_of("./my images") == f"file://{tmp_path}/my%20images"
    assert uri_of("file:///elsewhere") == "file:///elsewhere"


def test_a_plain_path_to_nothing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"nothing at .*/gone"):
        uri_of(str(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sklearn://digits", "sklearn://digits"),
        ("SKLEARN://digits", "sklearn://digits"),
        ("file:///a/b", "file:///a/b"),
        ("FILE://localhost/a/", "file:///a"),
        ("file:/a/./b//c", "file:///a/b/c"),
        ("file:///a b/é", "file:///a%20b/%C3%A9"),
        ("file:///%61%2fb", "file:///a/b"),
        ("file:///caf%e9", "file:///caf%E9"),
        ("file:///a%0Ab%1B[2J", "file:///a%0Ab%1B%5B2J"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("no uri at all", "no uri at all"),
    ],
)
def test_a_uri_has_one_spelling(text: str, uri: str) -> None:
    assert canonical(text) == uri
    assert canonical(uri) == uri


def test_a_name_that_is_not_utf_8_is_the_path_of_its_bytes() -> None:
    path = parse("file:///caf%E9").path
    assert path is not None
    assert bytes(path) == b"/caf\xe9"


@pytest.mark.parametrize("uri", ["file:///a\nb", "\x1bfile:///a", "file:///a\tb", "file:///a\u202eb", " \nsklearn://digits"])
def test_control_characters_in_a_uri_are_refused_and_not_left_out(uri: str) -> None:
    with pytest.raises(InvalidSpec, match="no control characters"):
        parse(uri)
