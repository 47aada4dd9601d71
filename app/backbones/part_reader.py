"""Read the parts of a backbone's folder: their configurations, and the files to load."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from app.backbones.regular_files import TooLarge, read_limited
from app.backbones.weight_files import Damaged, Missing, Unusable, weight_files
from app.domain.errors import BackboneRejected, BackboneUnavailable

CONFIG = "config.json"
CONFIG_BYTES = 1 << 20
INDEX_BYTES = 8 << 20  # it may list tens of thousands of labels
VOCABULARY_BYTES = 128 << 20
LARGEST_NUMBER = 1e7  # in any field of a configuration, also in those that only the library reads
INFINITE = [("lambda_min_clipped", -math.inf)]  # diffusers writes it to mean no clipping
DEEPEST = 16
WEIGHTS = {
    "text_encoder": "model",
    "": "diffusion_pytorch_model",
}  # stem of the weight file that the library loads, by prefix of the part's name
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)

Model = TypeVar("Model", bound=BaseModel)


@dataclass
class PartReader:
    """Reads a backbone's folder and collects the used files in `files`.

    `config`, `weights` and `tokenizer` raise BackboneUnavailable that names a missing file, or
    BackboneRejected that names an unusable file and its field.
    """

    name: str
    path: Path
    pipeline: str = ""
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    weights_bytes: int = 0

    def missing(self, *parts: str, fault: str) -> BackboneUnavailable:
        return BackboneUnavailable(self._text(parts, fault))

    def refusal(self, *parts: str, fault: str) -> BackboneRejected:
        return BackboneRejected(self._text(parts, fault))

    def _text(self, parts: tuple[str, ...], fault: str) -> str:
        return f"backbone {self.name}: {self.path.joinpath(*parts)}: {fault}"

    def has(self, part: str) -> bool:
        return (self.path / part).is_dir()

    def config(self, *parts: str, model: type[Model], most_bytes: int = CONFIG_BYTES) -> Model:
        """The fields of a configuration file. An error names the first faulty field."""
        path = self.path.joinpath(*parts)
        try:
            content = read_limited(path, most_bytes)
            _check_numbers(from_json(content, allow_inf_nan=True))
            read = model.model_validate_json(content)
        except OSError as error:
            raise self.missing(*parts, fault=str(error.strerror)) from error
        except ValidationError as error:
            raise self.refusal(*parts, fault=_fault(error.errors()[0])) from error
        except (TooLarge, ValueError) as error:
            raise self.refusal(*parts, fault=str(error)) from error
        self.files["/".join(parts)] = path
        return read

    def weights(self, part: str) -> None:
        """Add the weights of a part to `files`."""
        stem = next(stem for start, stem in WEIGHTS.items() if part.startswith(start))
        try:
            found = weight_files(self.path / part, stem)
            self.weights_bytes += found.size_bytes
        except Missing as error:
            raise self.missing(part, fault=str(error)) from error
        except OSError as error:
            raise self.missing(part, fault=str(error.strerror)) from error
        except Damaged as error:
            raise self.refusal(part, fault=str(error)) from error
        except Unusable as error:
            self._refuse_weights(part, str(error))
        self.files |= {f"{part}/{name}": path for name, path in found.by_name.items()}

    def _refuse_weights(self, part: str, fault: str) -> NoReturn:
        convert = f"{self.pipeline}.from_pretrained({str(self.path)!r}, use_safetensors=False).save_pretrained('NEW FOLDER')"
        raise self.refusal(part, fault=f"{fault}. Only safetensors in diffusers' layout are read; to convert: {convert}")

    def tokenizer(self, part: str) -> None:
        """Add the files of a tokenizer to `files`; they must include its vocabulary."""
        folder = self.path / part
        if not any(all((folder / file).is_file() for file in files) for files in VOCABULARIES):
            either = " nor ".join(" with ".join(files) for files in VOCABULARIES)
            raise self.missing(part, fault=f"there is neither {either}")
        for name in TOKENIZER_FILES:
            if (folder / name).is_file():
                if (folder / name).stat().st_size > VOCABULARY_BYTES:
                    raise self.refusal(part, name, fault=f"it has more than {VOCABULARY_BYTES:,} bytes")
                self.files[f"{part}/{name}"] = folder / name


def _fault(error: ErrorDetails) -> str:
    """An error of pydantic in one sentence: the field, its value, and what it should be."""
    where = ".".join(map(str, error["loc"])) or "content"
    if error["type"] in ("missing", "value_error", "json_invalid"):
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    given = repr(error["input"])
    return f"{where}: it is {given if len(given) <= 60 else given[:60] + '…'}. {error['msg']}"


def _check_numbers(value: Any, where: str = "", depth: int = 0) -> None:
    """Raises ValueError that names a field with an impossible number or with too deep nesting."""
    if depth > DEEPEST:
        raise ValueError(f"{where}: it is nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        for name, each in value.items():  # pyright: ignore[reportUnknownVariableType] - whatever the file says
            if depth or (name, each) not in INFINITE:
                _check_numbers(each, f"{where}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for each in value:  # pyright: ignore[reportUnknownVariableType] - whatever the file says
            _check_numbers(each, where, depth + 1)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
        raise ValueError(f"{where}: {value:.3g} is out of bounds: no number may be beyond {LARGEST_NUMBER:,.0f}")
