from typing import Any

class Worker:
    def prepare_args(self, **options: Any) -> dict[str, Any]: ...
