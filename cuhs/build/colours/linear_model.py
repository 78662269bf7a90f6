"""Classification of upper-body colours from pixels, for sources without clothing labels.

The result is the mean of two classifiers: a linear one on :func:`cuhs.build.colours.measures.describe`, and the
network in :mod:`cuhs.build.colours.network`. The linear classifier's coefficients are in the JSON file beside this
one. Both were fitted to CUHK03's camera pair 1 by ``python -m benchmarks.clothing_colour --data RAW --fit``.
docs/results.md has their accuracy there and on people that they were not fitted to.
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

# Least probability for black and white; from here on they win even where `other` is more probable. F1 of white is
# highest here, and F1 of black 0.01 below its best. The network saw few people in white, so it is seldom sure of
# white.
DOUBTFUL = 0.34

# Ridge penalty. It is strong because there are about as many measures as people to fit to.
PENALTY = 0.03


@dataclass(frozen=True)
class ColourModel:
    """Multinomial logistic regression on standardised measures.

    Attributes:
        mean, scale: (D,) mean and scale of the measures.
        weights: (D, 3), a column for each of :data:`cuhs.raw.labels.COLOURS`.
        bias: (3,).
        fitted_to: description of the data that the model was fitted to.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    fitted_to: str

    def probabilities(self, measures: np.ndarray) -> np.ndarray:
        """Map measures (I, D) to probabilities (I, 3) of black, white and other."""
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
        """Read a file written by :meth:`save`.

        Raises:
            CuhsError: the file is missing or is not a colour model.
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
    """Load the coefficients that come with the project."""
    return ColourModel.load(FITTED)


def fit(measures: np.ndarray, colours: Sequence[str], fitted_to: str = "") -> ColourModel:
    """Fit a model by maximum likelihood with a ridge penalty; the same input gives the same coefficients.

    Args:
        measures: (I, D), from :func:`cuhs.build.colours.measures.describe`.
        colours: ``black``, ``white`` or ``other`` of each person.
        fitted_to: description of the data.
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
    """Classify the clothing colour of every person of one source.

    Pass all images of a source at once: each camera's exposure and colour cast are estimated from all its images.

    Args:
        features: (N, 1032) uint8, from :func:`cuhs.build.colours.measures.torso_features`.
        seen: (N, 3), from :func:`cuhs.build.colours.network.probabilities`.
        pids: identity of each image, without junk and distractors.
        camids: camera of each image.

    Returns:
        Identity → colour and its probability, in order of appearance. A person is ``other`` if black and white
        are both less probable than :data:`DOUBTFUL`.
    """
    if not len(features):
        return {}
    people, measures = describe(features, pids, camids)
    probabilities = joined(fitted().probabilities(measures), by_person(seen, pids, camids))
    return dict(zip(people, decide(probabilities), strict=True))


def by_person(seen: np.ndarray, pids: Sequence[Hashable], camids: Sequence[Hashable]) -> np.ndarray:
    """Average (N, 3) over the images of each camera, then over a person's cameras: (I, 3)."""
    means = [of_cameras.mean(axis=0) for of_cameras in views(seen, pids, camids).values()]
    return np.array(means).reshape(-1, seen.shape[1])


def joined(measured: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Average the probabilities (I, 3) of the linear classifier and of the network."""
    return (measured + seen) / 2


def decide(probabilities: np.ndarray, doubtful: float = DOUBTFUL) -> list[tuple[str, float]]:
    """Turn probabilities (I, 3) into colours, each with its probability."""
    decisions = []
    for row in probabilities:
        best = int(row[:2].argmax())
        chosen = best if row[best] >= doubtful else COLOURS.index("other")
        decisions.append((COLOURS[chosen], float(row[chosen])))
    return decisions


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
