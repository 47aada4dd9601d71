"""`make digests`: one JSON object of SHA-256 sums that a change of structure alone must not change.

Ten small jobs run through a real `dapple up`: every objective, every kernel, and a small checkpoint of every model family.
The OpenAPI document is hashed without its descriptions. Run it at both revisions on the same machine, and compare:
floating-point results may differ between kinds of processors.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["DAPPLE_THREADS"] = "1"

from app.main import create_app
from app.settings import Settings
from tests.e2e.embedded import Embedded
from tests.e2e.service import archive_digest
from tests.unit.worker import tiny, tiny_text
from worker.training.model import save

SPECS: dict[str, dict[str, Any]] = {
    "mmd, rbf, evaluated": {
        "backbone": "embedded/digits",
        "evaluation": {"arms": ["random_real", "unguided", "guided"], "training_seeds": 2},
    },
    "induced-distance, laplacian, squared": {
        "kernel": "laplacian",
        "guidance": {"objective": "induced-distance", "distance": "squared"},
    },
    "energy, linear": {"kernel": "linear", "guidance": {"objective": "energy", "features": "tokens"}},
    "mode, classifier-free guidance": {
        "guidance": {"objective": "mode", "scale_mode": "paper", "scale": 0.1, "stop": 0.5},
        "sampling": {"cfg_scale": 4, "steps": 4},
    },
    "none, polynomial": {"kernel": "polynomial", "guidance": {"objective": "none"}},
    "induced-distance, inverse multiquadric, two taps, probes": {
        "kernel": "inverse-multiquadric",
        "kernel_bandwidth": "0.5x",
        "guidance": {"objective": "induced-distance", "tap": [1, 3], "features": "pooled"},
        "reference": {"count": 16, "selection": "kmeans", "probes": True},
    },
    "mmd, mixture of RBFs, DPM-Solver++": {
        "kernel_bandwidth": ["0.5x", "1x", 12.5],
        "guidance": {"tap": 0.3, "start": 0.2},
        "sampling": {"scheduler": "dpm-solver++", "steps": 5, "cfg_scale": 2},
    },
    "polynomial, paper's scale, DDIM": {
        "kernel": "polynomial",
        "guidance": {"scale_mode": "paper", "scale": 0.001, "projection": 64},
        "sampling": {"scheduler": "ddim", "steps": 4},
    },
    "Stable Diffusion": {
        "backbone": "sd",
        "sampling": {"prompt": "photo {class}", "negative_prompt": "blurry", "cfg_scale": 3, "steps": 4},
    },
    "Stable Diffusion 3": {"backbone": "sd3", "sampling": {"prompt": "photo {class}", "cfg_scale": 3, "steps": 4}},
}
DEFAULTS = {
    "dataset_uri": "sklearn://digits",
    "ipc": 3,
    "classes": ["3", "7"],
    "backbone": "tiny",
    "sampling": {"steps": 4},
    "reference": {"count": 16},
    "seed": 5,
}


def write_backbones(root: Path) -> None:
    save(root / "tiny", tiny.transformer(), [str(label) for label in range(10)])
    tiny_text.save_stable_diffusion(root / "sd")
    tiny_text.save_stable_diffusion_3(root / "sd3")


def archives(data_dir: Path) -> dict[str, str]:
    write_backbones(data_dir / "backbones")
    service = Embedded(data_dir)
    service.start()
    try:
        return {name: archive_digest(service.client, DEFAULTS | spec) for name, spec in SPECS.items()}
    finally:
        service.terminate()


def openapi(data_dir: Path) -> str:
    document = create_app(Settings(data_dir=data_dir)).openapi()
    return hashlib.sha256(json.dumps(_without_descriptions(document), sort_keys=True).encode()).hexdigest()


def _without_descriptions(value: Any) -> Any:
    """The same document without the texts of its `description` keys; a property of that name is an object, and stays."""
    if isinstance(value, dict):
        kept = {name: part for name, part in value.items() if name != "description" or not isinstance(part, str)}
        return {name: _without_descriptions(part) for name, part in kept.items()}
    return [_without_descriptions(part) for part in value] if isinstance(value, list) else value


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sums = archives(Path(folder) / "data") | {"OpenAPI": openapi(Path(folder) / "other")}
    print(json.dumps(sums, indent=2))


if __name__ == "__main__":
    main()
