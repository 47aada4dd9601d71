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
        ("x" * 300, "x" * 80),
    ],
)
def test_a_class_name_becomes_a_safe_folder_name(name, folder):
    assert folder_names([name]) == (folder,)


def test_folders_are_distinct_even_where_case_does_not_count():
    assert folder_names(["a/b", "a_b", "A:B", "a_b_2"]) == ("a_b", "a_b_2", "A_B_3", "a_b_2_2")
