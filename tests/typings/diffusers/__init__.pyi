"""diffusers annotates much of itself wrongly, and exports nothing that pyright can see: to the type checker it is Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
