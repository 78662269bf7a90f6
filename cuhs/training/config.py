"""Settings of the two trainings."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cuhs.config import Config

Positive = Annotated[int, Field(ge=1)]
# What every generator of random numbers takes.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, le=1)]
Deterministic = Annotated[bool, Field(description="the same bits each time, also on a GPU")]


class Schedule(Config):
    """Adam with weight decay; the learning rate warms up linearly, then falls in steps or along a cosine."""

    epochs: Positive
    lr: Annotated[float, Field(gt=0)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    decay: Literal["steps", "cosine"] = "steps"
    milestones: tuple[Positive, ...] = (40, 70)

    @model_validator(mode="after")
    def _warmup_ends(self) -> "Schedule":
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be fewer than epochs ({self.epochs})")
        return self


class HslTraining(Schedule):
    """Step 1: training of the head-shoulder localiser alone (Eq. 15)."""

    epochs: Positive = 50
    batch: Positive = 64
    pad: Annotated[int, Field(ge=0, lt=128)] = 0
    jitter: Share = 0.0
    held_out: Annotated[float, Field(gt=0, lt=1, description="share of identities held out to measure IoU")] = 0.1
    precision: Literal["float32", "tf32"] = "float32"
    deterministic: Deterministic = False
    seed: Seed = 0


class ReIDTraining(Schedule):
    """Step 2: training of the whole network, with the localiser frozen (Eq. 14)."""

    epochs: Positive = 90
    identities: Annotated[int, Field(ge=2, description="P, identities in a batch")] = 16
    images_per_identity: Annotated[int, Field(ge=2, description="K, images of each identity in a batch")] = 4
    eta_1: Annotated[float, Field(ge=0, description="weight of the cross-entropy")] = 1.0
    eta_2: Annotated[float, Field(ge=0, description="weight of the metric loss")] = 1.0
    margin: Annotated[float, Field(gt=0, description="α of the triplet loss")] = 0.3
    metric_loss: Literal["triplet", "lifted", "contrastive", "circle", "instance"] = "triplet"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    pad: Annotated[int, Field(ge=0, lt=128, description="largest shift of an image, in pixels at 384×128")] = 0
    jitter: Share = 0.0
    erasing: Share = 0.5
    sync_bn: bool = False
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    deterministic: Deterministic = False
    compile: Annotated[bool, Field(description="compile the network: slower to start, often faster on GPUs")] = False
    seed: Seed = 0
    profile: Annotated[int, Field(ge=0, le=100, description="steps to profile; 0: none")] = 0
