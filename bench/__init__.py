"""Measurements. Each module is one command: `make bench-NAME`."""

import worker as worker  # first of all: it sets how OpenMP threads wait, which torch reads when it is imported
