"""The base of every configuration object."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Unknown keys are errors, numbers are finite, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
