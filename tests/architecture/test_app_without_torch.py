import subprocess
import sys

import pytest

BLOCKED = ("torch", "diffusers", "transformers", "numpy", "sklearn", "PIL", "pyarrow", "celery", "worker")
OPTIONAL = ("opentelemetry.sdk", "opentelemetry.exporter", "psycopg", "obstore", "redis", "kombu")

PROGRAM = f"""
import sys
for name in {BLOCKED + OPTIONAL!r}:
    sys.modules[name] = None
import app.main
app.main.create_app()
"""


@pytest.mark.slow
def test_the_service_starts_where_the_mathematics_is_not_installed() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
