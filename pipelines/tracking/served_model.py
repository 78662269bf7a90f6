"""The model as MLflow serves it: it takes image files and returns embeddings; resizing and normalisation are inside.

MLflow stores this file as the model's code, with a copy of ``cuhs`` beside it. So it must not import ``pipelines``.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from cuhs.data.augment import decode, normalise
from cuhs.export import load
from cuhs.images import BadImage
from cuhs.images import load as checked

BATCH = 32


class Embedder(PythonModel):
    """Embeds images of people. Two show the same person if their Euclidean distance is at most the threshold."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights, without pickle."""
        self.network, self.card = load(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Embeddings of encoded images.

        Args:
            context: not used.
            model_input: a table with a column ``image`` of N encoded images (JPEG, PNG, …).
            params: not used.

        Returns:
            (N, Σc) float32.

        Raises:
            MlflowException: an image cannot be decoded; the message says which and why. The server answers HTTP 400.
        """
        images = [self._pixels(row, data) for row, data in enumerate(model_input["image"])]
        batches = [torch.from_numpy(np.stack(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
        with torch.inference_mode():
            return torch.cat([self.network.embed(normalise(batch)) for batch in batches]).numpy()

    def _pixels(self, row: int, data: bytes) -> np.ndarray:
        try:
            return decode(checked(data).data, self.card.height, self.card.width)
        except BadImage as error:
            raise mlflow.MlflowException.invalid_parameter_value(f"image {row}: {error}") from error


mlflow.models.set_model(Embedder())
