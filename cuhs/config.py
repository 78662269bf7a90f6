"""The base class of all configuration objects."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Immutable configuration; rejects unknown keys and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
