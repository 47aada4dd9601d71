import pytest

from worker.archive.names import folder_names


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("tench, Tinca tinca", "tench_ Tinca tinca"),
        ("été", "été"),
        ("a/b\\c", "a_b_c"),
        ("..", "class"),
        (".hidden", "hidden"),
        ("__init__", "init__"),
        ("dot.", "dot"),
        ("NUL", "NUL_"),
        ("nul.txt", "nul_.txt"),
        ("Con.tar.gz", "Con_.tar.gz"),
        ("aux .png", "aux_.png"),
        ("COM¹", "COM¹_"),
        ("console", "console"),
        ("nul_.txt", "nul_.txt"),
        ("é" * 300, "é" * 80),
        ("猫" * 300, "猫" * 66),
        ("𝒳" * 300, "𝒳" * 50),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf_"),
        ("x" * 300, "x" * 80),
    ],
)
def test_a_class_name_becomes_a_safe_folder_name(name, folder):
    assert folder_names([name]) == (folder,)


def test_folders_are_distinct_even_where_case_does_not_count():
    assert folder_names(["a/b", "a_b", "A:B", "a_b_2"]) == ("a_b", "a_b_2", "A_B_3", "a_b_2_2")


@pytest.mark.parametrize("letter", ["x", "é", "猫", "𝒳", "ﷺ", "e\u0301"])
@pytest.mark.slow
def test_no_name_is_longer_than_file_systems_take(letter):
    folders = folder_names([letter * 255 + str(number) for number in range(1000)])
    assert len(set(folders)) == 1000
    assert all(len(f"{folder}_1234567.png".encode()) <= 255 for folder in folders)
