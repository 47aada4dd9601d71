"""What this program is called where it is installed, and how its optional parts are added."""

DISTRIBUTION = "dapple-distillation"  # `dapple` on the Python package index is another program


def install_extra(extra: str) -> str:
    """How to add an extra, in words that hold for a checkout and for a wheel alike; no package index is meant."""
    return f"install the extra `{extra}` of {DISTRIBUTION}: pip install '.[{extra}]' in a checkout, or 'WHEEL[{extra}]'"
