from pathlib import Path

import pytest

from app.domain.dataset_uri import DatasetUri, canonical, check_bucket, parse, resolve_local, uri_of
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
    [
        "",
        "digits",
        "sklearn://iris",
        "http://x/y",
        "ftp://x/y",
        "file://host/x",
        "file:relative",
        "file:///a%00b",
        "http://[",
        "s3://b/k",
    ],
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


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("https://Host.example/a b.zip?download=1#part", "https://host.example/a%20b.zip?download=1"),
        ("https://bücher.example/é", "https://xn--bcher-kva.example/%C3%A9"),
        ("s3://bucket/a/b c/", "s3://bucket/a/b%20c"),
        ("s3://bucket", "s3://bucket/"),
        ("hf://datasets/owner/name", "hf://datasets/owner/name"),
        ("hf://datasets/owner/name@refs%2Fpr%2F1/data/x y", "hf://datasets/owner/name@refs%2Fpr%2F1/data/x%20y"),
    ],
)
def test_a_uri_from_elsewhere_has_one_spelling(text: str, uri: str) -> None:
    assert canonical(text) == uri == canonical(uri)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://user:pw@host/a", "must have no user name or password"),
        ("https://user@host/a", "must have no user name or password"),
        ("s3://key:secret@bucket/a", "must have no user name or password"),
        ("https://host/a?X-Amz-Signature=1", "has a credential"),
        ("https://host/a?x=1&token=t", "has a credential"),
        ("https://", "needs a host"),
        ("https://host:99999/", "not a URI"),
        ("https://host:0/", "there is no port 0"),
        ("http://host/a", "use https://"),
        ("s3://Bucket/a", "not the name of a bucket"),
        ("s3://b/a", "not the name of a bucket"),
        ("s3://bucket/../a", "not a prefix of keys"),
        ("s3://bucket/a//b", "not a prefix of keys"),
        ("s3://bucket/a?x", "query or fragment"),
        ("hf://models/owner/name", "hf://datasets/OWNER/NAME"),
        ("hf://datasets/name", "hf://datasets/OWNER/NAME"),
        ("hf://datasets/owner/../name", "hf://datasets/OWNER/NAME"),
        ("hf://datasets/owner/name/../../x", "hf://datasets/OWNER/NAME"),
    ],
)
def test_a_uri_from_elsewhere_that_is_unsafe_or_unclear_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidSpec, match=why) as refused:
        parse(text)
    assert "secret" not in str(refused.value)
    assert "pw@" not in str(refused.value)


def test_only_buckets_of_the_settings_are_read() -> None:
    check_bucket(parse("s3://mine/a"), ["mine"])
    check_bucket(parse("s3://mine/a"), ["*"])
    with pytest.raises(InvalidSpec, match=r"may not come from the bucket mine \(DAPPLE_DATASET_BUCKETS: none\)"):
        check_bucket(parse("s3://mine/a"), [])
