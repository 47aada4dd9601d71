import pytest
from PIL import Image
from safetensors import SafetensorError

from app.domain.errors import PermanentError
from worker.training.durable import reported_failures, sync_all, write_bytes, write_image, write_text


def test_a_file_is_replaced_whole(tmp_path):
    write_bytes(tmp_path / "a", b"one")
    write_bytes(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_leaves_the_file_before_and_nothing_beside_it(tmp_path):
    write_bytes(tmp_path / "a", b"one")
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "a", "no bytes")  # pyright: ignore[reportArgumentType]
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_text_that_is_not_utf8_is_escaped(tmp_path):
    write_text(tmp_path / "a", "café \udce9")
    assert (tmp_path / "a").read_text(encoding="utf-8") == r"café \udce9"


def test_a_picture_has_the_format_of_its_name(tmp_path):
    write_image(tmp_path / "a.png", Image.new("L", (2, 3)))
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.size) == ("PNG", (2, 3))


def test_a_folder_is_synced_with_its_files(tmp_path):
    write_bytes(tmp_path / "a", b"one")
    sync_all(tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_write_that_the_system_refuses_names_the_folder_and_the_reason(tmp_path, error):
    expected = pytest.raises(PermanentError, match=r"No space left on device; .* goes on from the last checkpoint")
    with expected, reported_failures(tmp_path):
        raise error
