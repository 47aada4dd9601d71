from app.settings import Settings
from worker.main import bench_for


def test_a_new_runner_removes_what_a_killed_one_left(tmp_path):
    settings = Settings(data_dir=tmp_path, device="cpu")
    (settings.scratch_dir / "tmp1").mkdir(parents=True)
    (settings.scratch_dir / "tmp1" / "samples.npz").write_bytes(b"half")
    bench_for(settings)
    assert not settings.scratch_dir.exists()
