import resource
import subprocess
import sys

import pytest

from app.server.descriptors import connections_within

PROGRAM = """
import resource
from app.server.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
print(raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "300 (300, 300)"


@pytest.mark.parametrize(
    ("descriptors", "expected"), [(1024, 256), (4096, 1792), (1 << 20, 2000), (resource.RLIM_INFINITY, 2000), (100, 1)]
)
def test_each_connection_may_open_a_file_beside_those_that_are_just_accepted(descriptors: int, expected: int) -> None:
    assert connections_within(descriptors, backlog=256, most=2000) == expected
