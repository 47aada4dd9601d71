import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules["obstore"] = None
import app.main
app.main.create_app()
"""


@pytest.mark.slow
def test_the_service_starts_on_a_folder_where_the_s3_library_is_not_installed() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
