"""The name under which this program is installed, and how its optional parts are added."""

DISTRIBUTION = "dapple-distillation"  # `dapple` on the Python package index is another program


def install_extra(extra: str) -> str:
    """Instructions to install an extra, for a checkout and for a wheel alike.

    They refer to no package index.
    """
    return f"install the extra `{extra}` of {DISTRIBUTION}: pip install '.[{extra}]' in a checkout, or 'WHEEL[{extra}]'"
