"""Which colour a person wears on the upper body, from the pixels: for sources without clothing labels.

The answer is the mean of a linear classifier over :func:`cuhs.build.colours.measures.describe` and of the network in
:mod:`cuhs.build.colours.network`. The linear classifier's coefficients lie beside this file. Both were fitted to
CUHK03's camera pair 1 by ``python -m benchmarks.clothing_colour --data RAW --fit``; docs/results.md says what they
reach there and on people whom they were not fitted to.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.optimize import minimize

from cuhs.build.colours.measures import describe, views
from cuhs.errors import CuhsError
from cuhs.raw.labels import COLOURS

Pid = TypeVar("Pid", bound=Hashable)

FITTED = Path(__file__).with_suffix(".json")

# Black and white are given from this probability on, even where `other` is likelier. F1 of white is highest here, of
# black 0.01 below its best: the network, which few people in white have taught, is seldom sure of white.
DOUBTFUL = 0.34

# Ridge penalty. There are about as many measures as people to fit to, so it is strong.
PENALTY = 0.03


@dataclass(frozen=True)
class ColourModel:
    """A multinomial logistic regression on standardised measures.

    Attributes:
        mean, scale: (D,) of the measures.
        weights: (D, 3), a column for each of :data:`cuhs.raw.labels.COLOURS`.
        bias: (3,).
        fitted_to: where the labels came from.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    fitted_to: str

    def probabilities(self, measures: np.ndarray) -> np.ndarray:
        """(I, D) measures to (I, 3) probabilities of black, white and other."""
        return _softmax((measures - self.mean) / self.scale @ self.weights + self.bias)

    def save(self, path: Path) -> None:
        """Write the coefficients as JSON, with four significant digits."""
        arrays = {name: getattr(self, name) for name in ("mean", "scale", "weights", "bias")}
        content = {"fitted_to": self.fitted_to} | {
            name: [float(f"{value:.4g}") for value in array.ravel()] for name, array in arrays.items()
        }
        path.write_text(json.dumps(content, indent=None) + "\n")

    @classmethod
    def load(cls, path: Path) -> "ColourModel":
        """Read what :meth:`save` wrote.

        Raises:
            CuhsError: the file is missing or holds something else.
        """
        try:
            content = json.loads(path.read_text())
            mean, scale, weights, bias = (
                np.array(content[name], dtype=float) for name in ("mean", "scale", "weights", "bias")
            )
            return cls(mean, scale, weights.reshape(len(mean), len(COLOURS)), bias, str(content["fitted_to"]))
        except FileNotFoundError as error:
            raise CuhsError(f"{path}: no such colour model") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CuhsError(f"{path}: not a colour model ({error}); fit it again") from error


@cache
def fitted() -> ColourModel:
    """The coefficients that come with the project."""
    return ColourModel.load(FITTED)


def fit(measures: np.ndarray, colours: Sequence[str], fitted_to: str = "") -> ColourModel:
    """Fit a model by maximum likelihood with a ridge penalty; the same input gives the same coefficients.

    Args:
        measures: (I, D) of :func:`cuhs.build.colours.measures.describe`.
        colours: ``black``, ``white`` or ``other`` for each person.
        fitted_to: what to say of the labels.
    """
    target = np.array(colours)[:, None] == np.array(COLOURS)
    mean, scale = measures.mean(axis=0), measures.std(axis=0) + 1e-3 * measures.std()
    inputs = (measures - mean) / scale
    size = inputs.shape[1] * len(COLOURS)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights = parameters[:size].reshape(-1, len(COLOURS))
        probability = _softmax(inputs @ weights + parameters[size:])
        likelihood = -np.log(probability[target].clip(min=1e-12)).mean()
        error = (probability - target) / len(inputs)
        gradient = np.concatenate([(inputs.T @ error + PENALTY * weights).ravel(), error.sum(axis=0)])
        return likelihood + PENALTY / 2 * (weights**2).sum(), gradient

    found = minimize(loss, np.zeros(size + len(COLOURS)), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return ColourModel(mean, scale, found[:size].reshape(-1, len(COLOURS)), found[size:], fitted_to)


def classify(
    features: np.ndarray,
    seen: np.ndarray,
    pids: Sequence[Pid],
    camids: Sequence[Hashable],
) -> Mapping[Pid, tuple[str, float]]:
    """The clothing colour of every person of one source.

    Exposure and colour cast of a camera are told from all its images here, so give a source as a whole.

    Args:
        features: (N, 1032) uint8 of :func:`cuhs.build.colours.measures.torso_features`.
        seen: (N, 3) of :func:`cuhs.build.colours.network.probabilities`.
        pids: the identity of each image, without junk and distractors.
        camids: the camera of each image.

    Returns:
        Identity → colour and its probability, in order of appearance. People of whom both black and white are less
        probable than :data:`DOUBTFUL` are ``other``.
    """
    if not len(features):
        return {}
    people, measures = describe(features, pids, camids)
    probabilities = joined(fitted().probabilities(measures), by_person(seen, pids, camids))
    return dict(zip(people, decide(probabilities), strict=True))


def by_person(seen: np.ndarray, pids: Sequence[Hashable], camids: Sequence[Hashable]) -> np.ndarray:
    """(N, 3) of images to (I, 3): the mean over a person's cameras of the mean over the images of each."""
    means = [of_cameras.mean(axis=0) for of_cameras in views(seen, pids, camids).values()]
    return np.array(means).reshape(-1, seen.shape[1])


def joined(measured: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(I, 3): what the linear classifier and the network say, with equal weight."""
    return (measured + seen) / 2


def decide(probabilities: np.ndarray, doubtful: float = DOUBTFUL) -> list[tuple[str, float]]:
    """(I, 3) probabilities to colours, and the probability of each."""
    decisions = []
    for row in probabilities:
        best = int(row[:2].argmax())
        chosen = best if row[best] >= doubtful else COLOURS.index("other")
        decisions.append((COLOURS[chosen], float(row[chosen])))
    return decisions


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
