"""Saving and loading of models: safetensors weights and a JSON configuration; never runs a pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cuhs.config import Config
from cuhs.errors import CuhsError
from cuhs.network.config import NetworkConfig
from cuhs.network.cuhs import CUHS, make_hsl
from cuhs.network.head_shoulder import HSL

WEIGHTS, CARD = "model.safetensors", "model.json"


class ModelCard(Config):
    """Description of a saved model: what is needed to rebuild it and to prepare its input.

    Attributes:
        network: configuration of the network.
        height, width: input size in pixels.
        localises: whether the model holds a head-shoulder localiser.
        about: where the model comes from, for people to read.
    """

    network: NetworkConfig
    height: int
    width: int
    localises: bool
    about: dict[str, Any] = Field(default_factory=dict)


def save(model: CUHS, card: ModelCard, folder: Path) -> None:
    """Write a network without its classifiers, so it loads without knowing the training identities."""
    _save(model.state_dict(), card, folder)


def load(folder: Path) -> tuple[CUHS, ModelCard]:
    """Read a network, in evaluation mode.

    Raises:
        CuhsError: a file is missing or damaged, or the weights do not fit the card.
    """
    card = read_card(folder)
    hsl = make_hsl(card.network, pretrained=False) if card.localises else None
    model = CUHS(card.network, hsl, pretrained=False)
    _fill(model, folder)
    model.eval()
    return model, card


def save_hsl(hsl: HSL, card: ModelCard, folder: Path) -> None:
    """Write a head-shoulder localiser."""
    _save(hsl.state_dict(), card, folder)


def load_hsl(folder: Path) -> HSL:
    """Read a head-shoulder localiser.

    Raises:
        CuhsError: a file is missing or damaged, or the weights are not a localiser's.
    """
    hsl = make_hsl(read_card(folder).network, pretrained=False)
    _fill(hsl, folder)
    return hsl


def read_card(folder: Path) -> ModelCard:
    """Read the card of a saved network or localiser.

    Raises:
        CuhsError: the card is missing or from another version.
    """
    path = folder / CARD
    try:
        return ModelCard.model_validate(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise CuhsError(f"{path}: missing; train the model first (dvc repro)") from error
    except (ValueError, ValidationError) as error:
        raise CuhsError(f"{path}: not a model card of this version; train the model again") from error


def _save(state: Mapping[str, Tensor], card: ModelCard, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n")


def _fill(module: nn.Module, folder: Path) -> None:
    path = folder / WEIGHTS
    try:
        module.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise CuhsError(f"{path}: missing; train the model first (dvc repro)") from error
    except (SafetensorError, RuntimeError) as error:
        raise CuhsError(f"{path}: damaged, or not the weights of {folder / CARD}; train the model again") from error
