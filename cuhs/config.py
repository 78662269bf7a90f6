"""The base of every configuration object."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
