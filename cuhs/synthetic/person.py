"""Synthetic people: traits are sampled once for an identity and are the same in all its images.

Head and shoulders identify a person. Clothing does not: many identities share a colour group, and trousers come from
a small common palette.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

SKINS: tuple[Colour, ...] = (
    (0.95, 0.80, 0.70),
    (0.90, 0.72, 0.59),
    (0.84, 0.64, 0.49),
    (0.74, 0.54, 0.39),
    (0.60, 0.41, 0.28),
    (0.45, 0.30, 0.21),
    (0.33, 0.22, 0.16),
)
HAIRS: tuple[Colour, ...] = (
    (0.06, 0.055, 0.06),
    (0.14, 0.10, 0.08),
    (0.29, 0.19, 0.12),
    (0.45, 0.23, 0.12),
    (0.80, 0.65, 0.38),
    (0.62, 0.61, 0.60),
    (0.90, 0.89, 0.87),
    (0.62, 0.13, 0.12),
)
HAIR_SHARES = (0.26, 0.20, 0.16, 0.09, 0.13, 0.08, 0.05, 0.03)
ACCENTS: tuple[Colour, ...] = (
    (0.75, 0.12, 0.13),
    (0.93, 0.72, 0.10),
    (0.10, 0.28, 0.62),
    (0.14, 0.45, 0.25),
    (0.90, 0.89, 0.86),
    (0.09, 0.09, 0.10),
    (0.88, 0.42, 0.10),
    (0.45, 0.20, 0.48),
    (0.55, 0.40, 0.27),
)
OTHER_TOPS: tuple[Colour, ...] = (
    (0.66, 0.16, 0.17),
    (0.16, 0.30, 0.60),
    (0.20, 0.46, 0.30),
    (0.85, 0.68, 0.22),
    (0.52, 0.52, 0.54),
    (0.76, 0.45, 0.55),
)
TROUSERS: tuple[Colour, ...] = (
    (0.09, 0.09, 0.10),
    (0.13, 0.15, 0.22),
    (0.20, 0.26, 0.38),
    (0.28, 0.28, 0.29),
    (0.47, 0.41, 0.32),
)
SHOES: tuple[Colour, ...] = ((0.08, 0.08, 0.08), (0.30, 0.20, 0.13), (0.82, 0.82, 0.80))

LONG_HAIR = frozenset({"bob", "long", "ponytail", "bun"})


def generator(*names: object) -> np.random.Generator:
    """Return a generator seeded by a stable hash of the names, so that images do not depend on their order."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


@dataclass(frozen=True)
class Identity:
    """One person; lengths are shares of the body height, and colours are RGB in [0, 1]."""

    group: str  # colour of the upper body: black, white or other
    top: Colour
    sleeves: str  # long or short
    trousers: Colour
    legs: str  # long, shorts or skirt
    shoes: Colour
    height: float  # relative to the average person
    build: float  # 1 is average, more is heavier
    shoulder: float  # half the distance between the shoulder joints
    slope: float  # drop of the shoulders from the neck
    neck: float  # radius
    neck_length: float
    face: float  # half the width of the head
    head: float  # half the height of the head
    jaw: float  # width of the chin relative to the face
    skin: Colour
    hair: str
    hair_colour: Colour
    parting: int  # side to which the hair is combed: -1, 0 or 1
    hat: str
    hat_colour: Colour
    glasses: str
    beard: str
    collar: str
    collar_colour: Colour
    bag: str
    bag_colour: Colour
    stoop: float  # how far the head is held forward


def sample_identity(rng: np.random.Generator, group: str) -> Identity:
    """Sample a person with a top of the colour group ``black``, ``white`` or ``other``."""

    def choose(options: str | tuple[Colour, ...], shares: tuple[float, ...] | None = None) -> object:
        values = options.split() if isinstance(options, str) else options
        return values[int(rng.choice(len(values), p=shares))]

    def vary(colour: object, amount: float) -> Colour:
        red, green, blue = np.clip(np.asarray(colour) + rng.normal(0, amount, 3), 0.02, 0.97)
        return float(red), float(green), float(blue)

    broad = float(rng.normal(0, 1))
    if rng.random() < 0.5:
        hair = str(choose("bob long ponytail bun short curly", (0.22, 0.30, 0.20, 0.12, 0.08, 0.08)))
    else:
        hair = str(choose("short buzz quiff fringe bald receding curly", (0.27, 0.14, 0.16, 0.13, 0.11, 0.1, 0.09)))
    bearded = hair not in LONG_HAIR and rng.random() < 0.5
    match group:
        case "black":
            shade = rng.uniform(0.07, 0.10)
            top = (shade, shade, shade * 1.05)
        case "white":
            shade = rng.uniform(0.84, 0.89)
            top = (shade, shade, shade * 0.99)
        case _:
            top = vary(choose(OTHER_TOPS), 0.015)
    skirt_share = 0.25 if hair in LONG_HAIR else 0.0
    return Identity(
        group=group,
        top=top,
        sleeves=str(choose("long short", (0.65, 0.35))),
        trousers=vary(choose(TROUSERS, (0.36, 0.24, 0.18, 0.12, 0.10)), 0.01),
        legs=str(choose("long shorts skirt", (0.88 - skirt_share, 0.12, skirt_share))),
        shoes=vary(choose(SHOES), 0.01),
        height=float(np.clip(rng.normal(1, 0.035), 0.92, 1.08)),
        build=float(np.clip(rng.normal(1.0, 0.13), 0.8, 1.4)),
        shoulder=float(np.clip(0.103 + 0.011 * broad - (0.008 if hair in LONG_HAIR else 0), 0.083, 0.128)),
        slope=float(rng.uniform(0.0, 0.045)),
        neck=float(np.clip(0.031 + 0.004 * broad + rng.normal(0, 0.002), 0.024, 0.043)),
        neck_length=float(rng.uniform(-0.012, 0.014)),
        face=float(np.clip(rng.normal(0.0535, 0.004), 0.045, 0.063)),
        head=float(np.clip(rng.normal(0.073, 0.004), 0.064, 0.081)),
        jaw=float(rng.uniform(0.62, 0.92)),
        skin=vary(choose(SKINS, (0.18, 0.22, 0.18, 0.14, 0.12, 0.09, 0.07)), 0.012),
        hair=hair,
        hair_colour=vary(choose(HAIRS, HAIR_SHARES), 0.015),
        parting=int(rng.integers(-1, 2)),
        hat=str(choose("none cap beanie brimmed helmet hood scarf", (0.66, 0.10, 0.07, 0.04, 0.05, 0.04, 0.04))),
        hat_colour=vary(choose(ACCENTS), 0.03),
        glasses=str(choose("none thin thick sun", (0.6, 0.14, 0.16, 0.10))),
        beard=str(choose("full stubble goatee moustache", (0.4, 0.25, 0.2, 0.15))) if bearded else "none",
        collar=str(
            choose("crew vee shirt hood turtleneck scarf lanyard", (0.24, 0.14, 0.20, 0.16, 0.09, 0.09, 0.08))
        ),
        collar_colour=vary(choose(ACCENTS), 0.03),
        bag=str(choose("none backpack strap", (0.66, 0.2, 0.14))),
        bag_colour=vary(choose(TROUSERS), 0.01),
        stoop=float(np.clip(rng.normal(0.010, 0.009), -0.005, 0.035)),
    )
