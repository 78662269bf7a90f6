"""Saving and loading of models: safetensors weights and a JSON configuration; never runs a pickle."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from cuhs.config import Config
from cuhs.documents import Document
from cuhs.errors import CuhsError, cut
from cuhs.files import write_file
from cuhs.network.config import Height, NetworkConfig, Width
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.network.head_shoulder import HSL

WEIGHTS, CARD = "model.safetensors", "model.json"
WRAPPED = re.compile(r"^module\.|_orig_mod\.")
MEND = "train the model (dvc repro)"


class ModelCard(Config):
    """Description of a saved model: what is needed to rebuild it and to prepare its input.

    Attributes:
        network: configuration of the network.
        height, width: input size in pixels.
        localises: whether the model holds a head-shoulder localiser.
        about: where the model comes from, for people to read.
    """

    network: NetworkConfig
    height: Height
    width: Width
    localises: bool
    about: dict[str, Any] = Field(default_factory=dict)


_CARD = Document(ModelCard, "a model card of this version", MEND)


def save(model: CUHS, card: ModelCard, folder: str | Path) -> None:
    """Write a network without its classifiers, so it loads without knowing the training identities."""
    _save(model.state_dict(), card, Path(folder))


def load(folder: str | Path) -> tuple[CUHS, ModelCard]:
    """Read a network, in evaluation mode.

    Raises:
        CuhsError: a file is missing or damaged, or the weights do not fit the card.
    """
    card = read_card(folder)
    hsl = make_hsl(card.network, pretrained=False) if card.localises else None
    model = CUHS(card.network, hsl, pretrained=False)
    _fill(model, Path(folder))
    model.eval()
    return model, card


def save_hsl(hsl: HSL, card: ModelCard, folder: str | Path) -> None:
    """Write a head-shoulder localiser."""
    _save(hsl.state_dict(), card, Path(folder))


def load_hsl(folder: str | Path) -> HSL:
    """Read a head-shoulder localiser.

    Raises:
        CuhsError: a file is missing or damaged, or the weights are not a localiser's.
    """
    hsl = make_hsl(read_card(folder).network, pretrained=False)
    _fill(hsl, Path(folder))
    return hsl


def read_card(folder: str | Path) -> ModelCard:
    """Read the card of a saved network or localiser.

    Raises:
        CuhsError: the card is missing or from another version.
    """
    return _CARD.read(Path(folder) / CARD)


def _save(state: Mapping[str, Tensor], card: ModelCard, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # torch.compile and DistributedDataParallel put names of their own before a network's.
    tensors = {WRAPPED.sub("", name): tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_file(folder / WEIGHTS, to_bytes(tensors))
    write_file(folder / CARD, card.model_dump_json(indent=2) + "\n")


def _fill(module: nn.Module, folder: Path) -> None:
    path = folder / WEIGHTS
    if not path.is_file():
        raise CuhsError(f"{path}: {'not a file' if path.exists() else 'missing'}; {MEND}")
    wanted = module.state_dict()
    try:
        with safe_open(path, "pt") as file:
            # Before anything is read: the file may hold whatever its maker liked.
            names = file.keys()
            if wrong := _difference({name: tuple(file.get_slice(name).get_shape()) for name in names}, wanted):
                raise CuhsError(f"{path}: not the weights of {folder / CARD} ({wrong}); {MEND}")
            module.load_state_dict({name: file.get_tensor(name) for name in wanted})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CuhsError(f"{path}: damaged ({cut(str(error))}); {MEND}") from error


def _difference(held: Mapping[str, tuple[int, ...]], wanted: Mapping[str, Tensor]) -> str | None:
    """Say how the shapes of a file differ from those of a network; none if they do not."""
    if missing := sorted(wanted.keys() - held.keys()):
        return f"it lacks {missing[0]}"
    if further := sorted(held.keys() - wanted.keys()):
        return f"it also holds {cut(further[0])}"
    for name, tensor in wanted.items():
        if held[name] != tensor.shape:
            return f"{name} has the shape {held[name]}, not {tuple(tensor.shape)}"
    return None
