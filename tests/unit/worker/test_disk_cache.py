import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from tests.unit.worker.file_limit import no_file_longer_than
from tests.waiting import wait_until
from worker.disk_cache import KEPT_SECONDS, STRIPES, DiskCache

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PLENTY = 1 << 30
KIB = 1024

MAKER = """
import os, sys, time
from pathlib import Path
from worker.disk_cache import DiskCache

root, seconds = Path(sys.argv[1]), float(sys.argv[2])

def make(folder):
    (folder / "bytes").write_bytes(os.urandom(64))
    with (root / "made").open("a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(seconds)

folder = DiskCache(root, 1 << 30).get("key", make, lambda: None)
print((folder / "bytes").read_bytes().hex())
"""

READER = """
import sys
from pathlib import Path
import numpy as np
from worker.disk_cache import DiskCache

def load(folder):
    return np.load(folder / "array.npy", mmap_mode="r")

mapped = DiskCache(Path(sys.argv[1]), 1 << 30).read("old", lambda folder: None, load, lambda: None)
print("mapped", flush=True)
sys.stdin.readline()
print(int(mapped.sum()))
"""


class Stop(Exception):
    pass


def go_on():
    pass


def stop():
    raise Stop


def refuse(_folder):
    raise AssertionError("the entry is there already")


def file_of(size_bytes, content=b"x"):
    return lambda folder: (folder / "file").write_bytes(content * size_bytes)


def content(folder):
    return (folder / "file").read_bytes()


def entries(root):
    return sorted(path.name for path in (root / "entries").iterdir())


def unfinished(root):
    return [path.name for path in (root / "unfinished").iterdir()]


def started(root, seconds):
    """A process that makes the entry `key` in so many seconds, and prints its bytes."""
    return subprocess.Popen([sys.executable, "-c", MAKER, root, str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_an_entry_is_made_once_and_then_found(tmp_path):
    cache = DiskCache(tmp_path, PLENTY)
    assert content(cache.get("key", file_of(3), go_on)) == b"xxx"
    assert content(cache.get("key", refuse, go_on)) == b"xxx"
    assert content(DiskCache(tmp_path, PLENTY).get("key", refuse, go_on)) == b"xxx"


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "a\0b", "ä", "a.b", "a" * 201])
def test_a_key_is_a_plain_name(tmp_path, key):
    with pytest.raises(ValueError, match="not a key"):
        DiskCache(tmp_path, PLENTY).get(key, refuse, go_on)


def test_an_entry_that_could_not_be_made_leaves_nothing(tmp_path):
    def fails(folder):
        file_of(3)(folder)
        raise Stop

    cache = DiskCache(tmp_path, PLENTY)
    with pytest.raises(Stop):
        cache.get("key", fails, go_on)
    assert unfinished(tmp_path) == []
    assert content(cache.get("key", file_of(1), go_on)) == b"x"


def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path):
    cache = DiskCache(tmp_path, PLENTY)
    with no_file_longer_than(100), pytest.raises(OSError, match="too large"):
        cache.get("key", file_of(1000), go_on)
    assert unfinished(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        DiskCache(tmp_path / "file", PLENTY).get("key", refuse, go_on)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"")], ids=["missing", "empty"])
def test_an_entry_that_cannot_be_opened_is_made_again(tmp_path, damage):
    def save(folder):
        np.save(folder / "array.npy", np.arange(5))

    def load(folder):
        return np.load(folder / "array.npy").tolist()

    cache = DiskCache(tmp_path, PLENTY)
    cache.read("key", save, load, go_on)
    damage(tmp_path / "entries" / "key" / "array.npy")
    assert cache.read("key", save, load, go_on) == [0, 1, 2, 3, 4]
    assert cache.read("key", refuse, load, go_on) == [0, 1, 2, 3, 4]


def test_the_least_recently_used_go_when_the_limit_is_passed(tmp_path):
    cache = DiskCache(tmp_path, 3 * KIB)
    for key in ("a", "b", "c"):
        cache.get(key, file_of(KIB), go_on)
    cache.get("a", refuse, go_on)
    cache.get("d", file_of(KIB), go_on)
    assert entries(tmp_path) == ["a", "c", "d"]
    cache.get("e", file_of(2 * KIB), go_on)
    assert entries(tmp_path) == ["d", "e"]
    assert unfinished(tmp_path) == []


def test_an_entry_beyond_the_limit_stays_until_the_next_one_comes(tmp_path):
    cache = DiskCache(tmp_path, KIB)
    cache.get("small", file_of(1), go_on)
    assert len(content(cache.get("large", file_of(5 * KIB), go_on))) == 5 * KIB
    assert entries(tmp_path) == ["large"]
    cache.get("small", file_of(1), go_on)
    assert entries(tmp_path) == ["small"]


def scanned(cache, keys):
    """The entries that had to be made."""
    made = []
    for key in keys:
        cache.get(key, lambda folder, key=key: (made.append(key), file_of(KIB)(folder)), go_on)
    return made


def test_of_a_scan_larger_than_the_cache_what_fits_is_kept_and_found_again(tmp_path):
    cache, keys = DiskCache(tmp_path, 3 * KIB), [f"s-{number}" for number in range(8)]
    assert scanned(cache, keys) == keys
    assert entries(tmp_path) == ["s-0", "s-1", "s-2"]
    assert scanned(cache, keys) == keys[3:]
    assert unfinished(tmp_path) == []


def test_what_a_scan_has_no_room_for_can_still_be_read(tmp_path):
    cache = DiskCache(tmp_path, KIB)
    cache.get("s-0", file_of(KIB), go_on)
    assert cache.read("s-1", file_of(KIB, b"y"), content, go_on) == b"y" * KIB
    assert entries(tmp_path) == ["s-0"]


def test_a_scan_takes_the_room_of_other_scans_and_of_single_entries(tmp_path):
    cache = DiskCache(tmp_path, 3 * KIB)
    scanned(cache, ["r-0", "r-1", "single", "s-0", "s-1", "s-2", "s-3"])
    assert entries(tmp_path) == ["s-0", "s-1", "s-2"]


def test_what_nobody_has_used_for_long_makes_room_for_its_own_scan(tmp_path):
    cache = DiskCache(tmp_path, 2 * KIB)
    scanned(cache, ["s-0", "s-1"])
    long_ago = time.time() - 2 * KEPT_SECONDS
    os.utime(tmp_path / "entries" / "s-0", (long_ago, long_ago))
    scanned(cache, ["s-2"])
    assert entries(tmp_path) == ["s-1", "s-2"]


def test_a_lower_limit_holds_for_a_scan_too_and_what_fits_is_found_again(tmp_path):
    keys = [f"s-{number}" for number in range(6)]
    scanned(DiskCache(tmp_path, 6 * KIB), keys)
    lowered = DiskCache(tmp_path, 3 * KIB)
    assert scanned(lowered, ["s-6"]) == ["s-6"]
    assert entries(tmp_path) == ["s-0", "s-1", "s-2"]
    assert scanned(lowered, keys) == keys[3:]


def test_an_entry_under_its_lock_is_not_evicted(tmp_path):
    cache = DiskCache(tmp_path, KIB)
    cache.get("old", file_of(KIB), go_on)
    (lock,) = (tmp_path / "locks").iterdir()
    with FileLock(lock):
        cache.get("new", file_of(KIB), go_on)
    assert entries(tmp_path) == ["new", "old"]


def test_what_another_process_has_mapped_outlives_its_eviction(tmp_path):
    cache = DiskCache(tmp_path, KIB)
    numbers = np.arange(100_000)
    cache.get("old", lambda folder: np.save(folder / "array.npy", numbers), go_on)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "mapped\n"
    cache.get("new", file_of(KIB), go_on)
    assert entries(tmp_path) == ["new"]
    assert reader.communicate("\n", timeout=60)[0] == f"{numbers.sum()}\n"


def test_an_entry_that_vanishes_before_it_is_opened_is_made_again(tmp_path):
    cache, other = DiskCache(tmp_path, KIB), DiskCache(tmp_path, KIB)
    cache.get("key", file_of(3, b"a"), go_on)
    raced = []

    def opened(folder):
        if not raced:
            raced.append(other.get("other", file_of(KIB), go_on))  # evicts it at the worst moment
        return content(folder)

    assert cache.read("key", file_of(3, b"b"), opened, go_on) == b"bbb"


def test_lock_files_do_not_pile_up(tmp_path):
    cache = DiskCache(tmp_path, 1)
    for number in range(STRIPES + 50):
        cache.get(f"key-{number}", file_of(1), go_on)
    assert len(list((tmp_path / "locks").iterdir())) <= STRIPES
    assert len(entries(tmp_path)) == 1


def test_many_processes_make_an_entry_once_and_all_read_it(tmp_path):
    processes = [started(tmp_path, 0.3) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(outputs)) == 1
    assert len((tmp_path / "made").read_text().split()) == 1


def test_who_waits_for_another_process_may_stop(tmp_path):
    other = started(tmp_path, 60)
    wait_until((tmp_path / "made").exists)
    with pytest.raises(Stop):
        DiskCache(tmp_path, PLENTY).get("key", refuse, stop)
    other.kill()
    other.communicate()


def test_an_entry_whose_maker_is_killed_is_made_by_the_one_who_waits(tmp_path):
    other = started(tmp_path, 60)
    wait_until((tmp_path / "made").exists)
    threading.Timer(0.2, os.kill, (other.pid, signal.SIGKILL)).start()
    assert content(DiskCache(tmp_path, PLENTY).get("key", file_of(3), go_on)) == b"xxx"
    other.communicate()
    assert [path.name for path in (tmp_path / "entries" / "key").iterdir()] == ["file"]
    assert unfinished(tmp_path) == []


def test_a_maker_that_was_stopped_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.disk_cache.LIFELESS_SECONDS", 0.3)
    other = started(tmp_path, 60)
    wait_until((tmp_path / "made").exists)
    other.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError, match="no progress"):
        DiskCache(tmp_path, PLENTY).get("key", refuse, go_on)
    other.kill()
    other.communicate()


def test_a_maker_that_takes_its_time_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.disk_cache.LIFELESS_SECONDS", 3.0)  # it shows life every second
    other = started(tmp_path, 5)
    wait_until((tmp_path / "made").exists)
    DiskCache(tmp_path, PLENTY).get("key", refuse, go_on)
    other.communicate()


def test_what_a_killed_process_left_is_swept_when_another_entry_is_made(tmp_path):
    other = started(tmp_path, 60)
    wait_until((tmp_path / "made").exists)
    cache = DiskCache(tmp_path, PLENTY)
    cache.get("first", file_of(1), go_on)
    assert unfinished(tmp_path) == ["key"], "a living maker's folder is left alone"
    other.kill()
    other.communicate()
    cache.get("second", file_of(1), go_on)
    assert unfinished(tmp_path) == []


def test_readers_never_see_half_an_entry_while_others_evict_it(tmp_path):
    """Three threads ask for three entries of which one fits: each is made, evicted and made again under their hands."""
    cache = DiskCache(tmp_path, KIB)
    wrong = []

    def ask(first):
        for turn in range(15):
            key = str((first + turn) % 3)
            found = cache.read(key, file_of(KIB, key.encode()), content, go_on)
            if found != key.encode() * KIB:
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert unfinished(tmp_path) == []
