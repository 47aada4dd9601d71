import subprocess
import sys

import pytest

PROGRAM = "import sys, app.cli; print(sorted({'fastapi', 'starlette', 'app.server.options'} & set(sys.modules)))"


@pytest.mark.slow
def test_commands_that_only_ask_a_service_do_not_load_the_api() -> None:
    """Loading it takes longer than what such a command does."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
