"""Drawing of the body: the pose, limbs, clothes and bags."""

from dataclasses import dataclass

import numpy as np

from cuhs.synthetic.head import Head, scaled
from cuhs.synthetic.person import Identity
from cuhs.synthetic.solids import ARM, BODY, CARRIED, CLOTH, Array, Canvas, Paint, plain, rotation


@dataclass(frozen=True)
class Pose:
    """A pose as joint angles in radians; stride and phase determine the limbs of a walking person."""

    phase: float
    stride: float  # largest swing of the thigh; a standing person has almost 0
    arms: float  # largest swing of the arms
    elbow: float
    spread: float  # how far the arms are held away from the body
    look: tuple[float, float, float]  # yaw, pitch and roll of the head relative to the body


def sample_pose(rng: np.random.Generator) -> Pose:
    """Sample a standing or walking pose."""
    walking = rng.random() < 0.8
    return Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.25, 0.5) if walking else rng.uniform(0, 0.08)),
        arms=float(rng.uniform(0.1, 0.6)),
        elbow=float(rng.uniform(0.1, 0.6)),
        spread=float(rng.uniform(0.10, 0.24)),
        look=(float(rng.normal(0, 0.25)), float(rng.normal(0.05, 0.1)), float(rng.normal(0, 0.06))),
    )


def draw_body(canvas: Canvas, identity: Identity, pose: Pose) -> None:
    """Draw the whole person on the canvas."""
    lean = identity.stoop * 0.6 + 0.03 * pose.stride
    hips = np.array([0.0, 0.50, 0.0])
    chest = np.array([0.0, 0.80, lean])
    _legs(canvas, identity, pose, hips)
    _torso(canvas, identity, lean)
    _arms(canvas, identity, pose, chest)
    _neck_and_head(canvas, identity, pose, chest)
    _bag(canvas, identity, lean)


def _limb(canvas: Canvas, start: Array, end: Array, radii: tuple[float, ...], paint: Paint, part: int) -> None:
    """Draw a limb with a rounded lower end; its upper end joins the part above."""
    knots = np.linspace(0, 1, len(radii))
    canvas.loft(start, end, [(t, r, r) for t, r in zip(knots, radii, strict=True)], paint, part)
    canvas.ellipsoid(end, (radii[-1], radii[-1], radii[-1]), paint, part)


def _legs(canvas: Canvas, identity: Identity, pose: Pose, hips: Array) -> None:
    trousers, skin = plain(identity.trousers), plain(identity.skin)
    heavy = 0.7 + 0.3 * identity.build
    ankles = []
    stride = pose.stride * (0.6 if identity.legs == "skirt" else 1.0)
    for side, phase in ((-1, pose.phase), (1, pose.phase + np.pi)):
        swing = stride * np.sin(phase)
        # The knee bends while the leg swings forward, and slightly while it carries weight.
        bend = 0.08 + stride * 1.5 * max(np.cos(phase), 0.0) ** 2
        hip = _by(hips, side * 0.042, -0.015, 0.0)
        knee = hip + 0.235 * np.array([side * 0.03, -np.cos(swing), np.sin(swing)])
        ankle = knee + 0.225 * np.array([0, -np.cos(swing - bend), np.sin(swing - bend)])
        ankles.append((side, hip, knee, ankle, swing - bend))
    # Put the lower foot on the ground. This stretches the legs instead of moving the body.
    drop = min(ankle[1] for _, _, _, ankle, _ in ankles) - 0.035
    for side, hip, knee, ankle, tilt in ankles:
        knee, ankle = _by(knee, 0, -0.5 * drop, 0), _by(ankle, 0, -drop, 0)
        thigh = (0.052 * heavy, 0.053 * heavy, 0.042 * heavy)
        shin = (0.042 * heavy, 0.041 * heavy, 0.031)
        covered = identity.legs == "long"
        if identity.legs == "skirt":
            _limb(canvas, 0.4 * hip + 0.6 * knee, knee, thigh[1:], skin, BODY)
        else:
            _limb(canvas, hip, knee, thigh, trousers, BODY)
        _limb(
            canvas,
            knee,
            ankle,
            shin if covered else (0.037 * heavy, 0.039, 0.023),
            trousers if covered else skin,
            BODY,
        )
        toes = rotation(yaw=side * 0.15, pitch=0.5 * max(-tilt - 0.15, 0.0))
        sole = ankle + toes @ np.array([0, -0.012, 0.034])
        canvas.ellipsoid(sole, (0.029, 0.024, 0.07), plain(identity.shoes), BODY, toes)
    if identity.legs == "skirt":
        hem = np.array([0, 0.30, 0.01])
        profile = [
            (0, 0.085 * heavy, 0.08),
            (0.4, 0.108 * heavy, 0.10 + 0.05 * stride),
            (1, 0.12, 0.11 + 0.13 * stride),
        ]
        canvas.loft(np.array([0, 0.52, 0]), hem, profile, trousers, BODY)


def _torso(canvas: Canvas, identity: Identity, lean: float) -> None:
    build, shoulder, slope = identity.build, identity.shoulder, identity.slope
    base, top = 0.455, 0.865
    across, girth = 0.75 + 0.25 * build, 0.5 + 0.5 * build
    # (height, half-width, half-depth): hem, hips, waist, chest, shoulders, the slope, the neck.
    points = [
        (base, 0.106 * across, 0.082 * girth),
        (0.50, 0.104 * across, 0.080 * girth),
        (0.60, 0.088 * across * girth, 0.068 * build),
        (0.70, 0.45 * 0.092 * across + 0.55 * shoulder, 0.071 * girth),
        (0.765, shoulder * 1.02, 0.066 * girth),
        (0.800 - slope * 0.8, shoulder * 1.06, 0.056),
        (0.828 - slope * 0.8, shoulder * 0.98, 0.048),
        (0.845 - slope * 0.55, shoulder * 0.70 + identity.neck * 0.1, 0.045),
        (0.858 - slope * 0.2, shoulder * 0.3 + identity.neck * 0.75, 0.042),
    ]
    profile = [((y - base) / (top - base), x, z) for y, x, z in points] + [(1.0, identity.neck, identity.neck)]
    start, end = np.array([0, base, 0]), np.array([0, top, lean * 1.1])
    canvas.loft(start, end, profile, _top_paint(identity), CLOTH)


def _top_paint(identity: Identity) -> Paint:
    cloth, skin, accent = (np.array(c) for c in (identity.top, identity.skin, identity.collar_colour))

    def paint(local: Array) -> Array:
        x, t, z = local
        front = z > 0
        colour = np.tile(cloth, (len(x), 1))
        colour[t < 0.03] *= 0.8
        match identity.collar:
            case "vee":
                colour[front & (np.abs(x) < (t - 0.80) * 2.2)] = skin
            case "crew":
                colour[t > 0.965] = skin
            case "shirt":
                colour[front & (np.abs(x) < 0.035)] *= 0.82
                colour[front & (np.abs(x) < (t - 0.88) * 2.5)] = accent
            case "hood":
                colour[front & (np.abs(x) < 0.03)] = accent * 0.5 + cloth * 0.5
            case "lanyard":
                ribbon = front & (t > 0.62) & (np.abs(np.abs(x) - 0.42 * (t - 0.62) / 0.38) < 0.06)
                colour[ribbon] = accent
                colour[front & (np.abs(x) < 0.16) & (np.abs(t - 0.58) < 0.06)] = (0.9, 0.9, 0.88)
                colour[t > 0.965] = skin
        if identity.bag == "backpack":
            colour[(t > 0.55) & (np.abs(np.abs(x) - 0.62) < 0.11) & (z > -0.5)] = identity.bag_colour
        if identity.bag == "strap":
            colour[np.abs(x * np.sign(z + 1e-9) - (t - 0.5) * 1.5) < 0.10] = identity.bag_colour
        return colour

    return paint


def _arms(canvas: Canvas, identity: Identity, pose: Pose, chest: Array) -> None:
    top, skin = plain(identity.top), plain(identity.skin)
    thick = 0.6 + 0.4 * identity.build
    deltoid = 0.039 * thick
    for side, phase in ((-1, pose.phase + np.pi), (1, pose.phase)):
        swing = pose.arms * np.sin(phase) * min(1.0, pose.stride * 4)
        bend = swing + pose.elbow * (0.5 + 0.5 * np.sin(phase))
        spread = pose.spread + 0.1 * (identity.build - 1)
        joint = _by(chest, side * identity.shoulder * 0.98, 0.798 - identity.slope * 0.8 - chest[1], 0.0)
        out = np.array([side * np.sin(spread), 0, 0])
        elbow = joint + 0.165 * (out + np.array([0, -np.cos(swing), np.sin(swing)]) * np.cos(spread))
        wrist = elbow + 0.150 * (0.4 * out + np.array([0, -np.cos(bend), np.sin(bend)]))
        canvas.ellipsoid(joint, (deltoid, deltoid, deltoid), top, CLOTH)
        upper = (0.038 * thick, 0.036 * thick, 0.032 * thick)
        if identity.sleeves == "long":
            _limb(canvas, joint, elbow, upper, top, CLOTH)
            _limb(canvas, elbow, wrist, (0.032 * thick, 0.030 * thick, 0.024), top, BODY)
        else:
            middle = joint + 0.62 * (elbow - joint)
            _limb(canvas, joint, middle, (0.039 * thick, 0.039 * thick, 0.038 * thick), top, CLOTH)
            _limb(canvas, middle, elbow, (0.030 * thick, 0.028 * thick), skin, ARM)
            _limb(canvas, elbow, wrist, (0.028 * thick, 0.027 * thick, 0.019), skin, CARRIED)
        hand = wrist + 0.028 * (wrist - elbow) / 0.15
        canvas.ellipsoid(hand, (0.018, 0.030, 0.024), skin, CARRIED)


def _neck_and_head(canvas: Canvas, identity: Identity, pose: Pose, chest: Array) -> None:
    turn = rotation(*pose.look)
    base = np.array([0, 0.845, chest[2]])
    centre = np.array([0, 0.932 + identity.neck_length, chest[2] + identity.stoop + 0.004])
    collar, accent = identity.collar, identity.collar_colour
    radius = identity.neck
    knots = [(0, radius * 1.12, radius * 1.12), (0.5, radius, radius), (1, radius * 0.98, radius)]
    high = collar == "turtleneck"
    canvas.loft(base, centre, knots, plain(identity.top if high else identity.skin), ARM if not high else CLOTH)
    Head(canvas, identity, centre, turn).draw()
    ring = _by(base, 0, 0.012, 0)
    match collar:
        case "scarf":
            canvas.ellipsoid(_by(ring, 0, 0.008, 0.004), (radius * 1.75, 0.027, radius * 1.75), plain(accent), CLOTH)
            canvas.ellipsoid(_by(ring, 0.02, -0.06, 0.055), (0.02, 0.065, 0.016), plain(scaled(accent, 0.9)), CLOTH)
        case "shirt":
            for side in (-1, 1):
                flap = rotation(yaw=side * 0.5, roll=side * 0.5)
                place = _by(ring, side * radius * 0.75, 0.004, radius * 0.55)
                canvas.ellipsoid(place, (0.021, 0.017, 0.012), plain(scaled(identity.top, 1.1)), CLOTH, flap)
            canvas.ellipsoid(ring, (radius * 1.25, 0.017, radius * 1.25), plain(scaled(identity.top, 1.05)), CLOTH)
        case "hood" if identity.hat != "hood":
            hang = _by(ring, 0, -0.012, -0.034)
            canvas.ellipsoid(hang, (radius * 1.9, 0.042, 0.036), plain(scaled(identity.top, 0.92)), CLOTH)
            canvas.ellipsoid(ring, (radius * 1.6, 0.018, radius * 1.4), plain(scaled(identity.top, 1.03)), CLOTH)


def _bag(canvas: Canvas, identity: Identity, lean: float) -> None:
    colour = identity.bag_colour
    if identity.bag == "backpack":

        def pocketed(local: Array) -> Array:
            pocket = (local[1] < -0.15) & (np.abs(local[0]) < 0.75)
            return np.array(colour) * np.where(pocket, 0.75, 1.0)[:, None]

        canvas.ellipsoid(np.array([0, 0.685, lean - 0.105]), (0.088, 0.118, 0.062), pocketed, CARRIED)
    elif identity.bag == "strap":
        canvas.ellipsoid(np.array([-0.115, 0.49, 0.0]), (0.035, 0.06, 0.07), plain(scaled(colour, 0.9)), CARRIED)


def _by(origin: Array, right: float, up: float, forward: float) -> Array:
    return origin + np.array([right, up, forward])
