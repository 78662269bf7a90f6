"""Drawing of the head: face, hair, hat, glasses and beard.

Everything is painted or cut in the head's own coordinates, in which the skull is the unit sphere: x points to the
viewer's right when the head faces the viewer, y up, and z out of the face.
"""

import numpy as np

from cuhs.synthetic.person import Colour, Identity
from cuhs.synthetic.solids import HEAD, Array, Canvas, Keep, Paint, plain

# Hairlines as z and y coordinates, from the nape over the ears to the forehead.
HAIRLINES = {
    "buzz": ((-1, -0.2, 0.15, 0.4, 1), (-0.55, -0.5, 0.0, 0.5, 0.62)),
    "short": ((-1, -0.2, 0.2, 0.45, 1), (-0.75, -0.6, -0.1, 0.42, 0.55)),
    "quiff": ((-1, -0.2, 0.15, 0.4, 1), (-0.6, -0.5, 0.05, 0.5, 0.62)),
    "fringe": ((-1, -0.2, 0.25, 0.5, 1), (-0.85, -0.75, -0.2, 0.22, 0.26)),
    "receding": ((-1, -0.2, 0.1, 0.25, 1), (-0.7, -0.6, -0.1, 0.7, 1.2)),
    "bald": ((-1, -0.2, 0.05, 0.1, 1), (2.0, 2.0, 2.0, 2.0, 2.0)),
    "curly": ((-1, -0.2, 0.2, 0.45, 1), (-0.8, -0.6, -0.1, 0.42, 0.5)),
    "bob": ((-1, -0.2, 0.3, 0.5, 1), (-1.3, -1.2, -0.4, 0.35, 0.42)),
    "long": ((-1, -0.2, 0.3, 0.5, 1), (-1.3, -1.2, -0.4, 0.42, 0.58)),
    "ponytail": ((-1, -0.2, 0.2, 0.45, 1), (-0.7, -0.45, 0.0, 0.5, 0.62)),
    "bun": ((-1, -0.2, 0.2, 0.45, 1), (-0.65, -0.45, 0.0, 0.5, 0.6)),
}
VOLUMES = {"buzz": 1.03, "short": 1.09, "quiff": 1.08, "fringe": 1.12, "receding": 1.06, "curly": 1.12,
           "bob": 1.13, "long": 1.11, "ponytail": 1.06, "bun": 1.06}  # fmt: skip
COVERING = frozenset({"cap", "beanie", "brimmed", "helmet"})
WRAPPING = frozenset({"hood", "scarf"})


class Head:
    """Draws the head of one identity at a given place and in a given direction."""

    def __init__(self, canvas: Canvas, identity: Identity, centre: Array, axes: Array) -> None:
        self.canvas, self.identity, self.centre, self.axes = canvas, identity, centre, axes
        self.radii = np.array([identity.face, identity.head, identity.face * 1.22])

    def draw(self) -> None:
        """Draw the whole head."""
        identity = self.identity
        self._ball((0, 0, 0), (1, 1, 1), self._face())
        self._ball((0, -0.52, 0.22), (identity.jaw, 0.5, 0.68), self._face(offset=(0, -0.52, 0.22)))
        if identity.hat not in WRAPPING:
            self._hair()
            if identity.hair not in {"bob", "long"}:
                for side in (-1, 1):
                    self._ball((side * 0.98, -0.08, -0.08), (0.13, 0.24, 0.2), plain(scaled(identity.skin, 0.92)))
        self._ball((0, -0.14, 1.0), (0.14, 0.17, 0.17), plain(identity.skin))
        self._hat()
        if identity.glasses != "none":
            self._glasses()

    def _ball(
        self,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        paint: Paint,
        keep: Keep | None = None,
    ) -> None:
        x, y, z = np.asarray(radii) * self.radii
        place = self.centre + self.axes @ (np.asarray(centre) * self.radii)
        self.canvas.ellipsoid(place, (x, y, z), paint, HEAD, self.axes, keep)

    def _face(self, offset: tuple[float, float, float] = (0, 0, 0)) -> Paint:
        identity = self.identity
        skin, hair = np.array(identity.skin), np.array(identity.hair_colour)
        radii = np.array([identity.jaw, 0.5, 0.68]) if any(offset) else np.ones(3)

        def paint(local: Array) -> Array:
            x, y, z = local * radii[:, None] + np.array(offset)[:, None]
            front = z > 0.25
            colour = np.tile(skin, (len(x), 1))
            colour[front & (y < 0.0) & (y > -0.35) & (np.abs(np.abs(x) - 0.5) < 0.2)] *= (1.04, 0.95, 0.94)
            if identity.beard in {"full", "stubble"}:
                cheeks = (y < -0.22 - 0.25 * (np.abs(x) < 0.45)) & (z > -0.25)
                lip = front & (np.abs(x) < 0.42) & (y < -0.28) & (y > -0.46)
                strength = 0.9 if identity.beard == "full" else 0.35
                grown = cheeks | lip
                colour[grown] = (1 - strength) * colour[grown] + strength * hair
            if identity.beard in {"goatee", "moustache"}:
                grown = front & (np.abs(x) < 0.42) & (y < -0.28) & (y > -0.45)
                if identity.beard == "goatee":
                    grown |= (np.abs(x) < 0.34) & (y < -0.62) & (z > 0.1)
                colour[grown] = 0.1 * colour[grown] + 0.9 * hair
            colour[front & (np.abs(x) < 0.30) & (np.abs(y + 0.53) < 0.055)] = skin * (0.72, 0.45, 0.45)
            eyes = front & (np.abs(y - 0.06) < 0.075)
            colour[eyes & (np.abs(np.abs(x) - 0.4) < 0.19)] = (0.75, 0.74, 0.72) * np.minimum(skin * 1.3, 1)
            colour[eyes & (np.abs(np.abs(x) - 0.4) < 0.10)] = (0.08, 0.06, 0.05)
            colour[front & (np.abs(y - 0.25) < 0.06) & (np.abs(np.abs(x) - 0.4) < 0.24)] = hair * 0.6 + skin * 0.2
            if identity.hair in {"bald", "buzz", "receding"} and not any(offset):
                # Shaved hair still darkens the scalp at the back.
                shaven = (y > np.interp(z, *HAIRLINES["short"])) & (y < 0.55 - 0.4 * z)
                colour[shaven] = 0.7 * colour[shaven] + 0.3 * hair
            return colour

        return paint

    def _strands(self, frequency: float = 14.0) -> Paint:
        colour = np.array(self.identity.hair_colour)

        def paint(local: Array) -> Array:
            x, y, z = local
            waves = 0.13 * np.sin(frequency * np.arctan2(x, z + 0.2) + 2 * y)
            sheen = 0.35 * np.exp(-((y - 0.55) ** 2) / 0.03)
            return colour * (1 + waves)[:, None] + 0.07 * sheen[:, None]

        return paint

    def _hair(self) -> None:
        identity, style = self.identity, self.identity.hair
        if style == "bald":
            return
        zs, ys = HAIRLINES[style]
        volume = VOLUMES[style]
        covered = identity.hat in COVERING

        def grows(local: Array) -> Array:
            x, y, z = local
            line = np.interp(z, zs, ys) + 0.12 * identity.parting * x * (z > 0.2)
            return y > line

        paint = self._strands()
        self._ball((0, 0.04, -0.05), (volume, volume, volume), paint, grows)
        if style in {"bob", "long"}:
            low = -1.25 if style == "bob" else -2.1 - 8 * identity.slope
            middle, half = (low + 0.6) / 2, (0.6 - low) / 2

            def behind(local: Array) -> Array:
                x, y, z = local
                return (z < 0.35 - 0.45 * (np.abs(x) < 0.6)) & (y < 0.75) & (y > (-0.85 if style == "bob" else -1))

            width = 1.2 if style == "bob" else 1.16
            self._ball((0, middle, -0.22), (width, half * 1.1, 1.0), self._strands(20), behind)
        if style == "ponytail":
            self._ball((0, 0.35, -1.12), (0.32, 0.3, 0.3), paint)
            self._ball((0, -0.5, -1.3), (0.34, 1.05, 0.3), self._strands(6))
        if style == "bun":
            self._ball((0, 0.62 if covered else 0.95, -0.75), (0.46, 0.42, 0.46), paint)
        if style == "quiff" and not covered:
            self._ball((0.15 * identity.parting, 0.78, 0.42), (0.78, 0.42, 0.5), paint)
        if style == "fringe" and not covered:
            self._ball((0, 0.5, 0.45), (0.92, 0.5, 0.62), paint, lambda local: local[1] > -0.35)
        if style == "curly":
            self._curls()

    def _curls(self) -> None:
        # Golden-angle points on the sphere above the hairline give an even, lumpy outline.
        covered = self.identity.hat in COVERING
        zs, ys = HAIRLINES["curly"]
        for i in range(46):
            y = 1 - 2 * (i + 0.5) / 46
            around = i * 2.39996
            x, z = np.sqrt(1 - y * y) * np.sin(around), np.sqrt(1 - y * y) * np.cos(around)
            if y > np.interp(z, zs, ys) and not (covered and y > 0.2):
                grey = 0.92 + 0.16 * ((i * 7) % 5) / 4
                self._ball(
                    (x * 1.12, y * 1.12, z * 1.08),
                    (0.36, 0.31, 0.31),
                    plain(scaled(self.identity.hair_colour, grey)),
                )

    def _glasses(self) -> None:
        sun = self.identity.glasses == "sun"
        thickness = {"thin": 0.055, "thick": 0.1, "sun": 0.08}[self.identity.glasses]
        colour = (0.30, 0.29, 0.28) if self.identity.glasses == "thin" else (0.05, 0.05, 0.06)

        def worn(local: Array) -> Array:
            x, y, z = local
            ring = np.hypot((np.abs(x) - 0.42) / 1.25, y - 0.04)
            lens = (z > 0) & (ring < 0.27 if sun else np.abs(ring - 0.22) < thickness)
            bridge = (z > 0) & (np.abs(x) < 0.2) & (np.abs(y - 0.1) < thickness)
            arms = (np.abs(x) > 0.6) & (np.abs(y - 0.1) < thickness) & (z > -0.2)
            return lens | bridge | arms

        self._ball((0, 0, 0.02), (1.06, 1.06, 1.06), plain(colour), worn)

    def _hat(self) -> None:
        identity = self.identity
        colour = identity.hat_colour
        paint = plain(colour)
        match identity.hat:
            case "cap":
                self._ball((0, 0.14, -0.03), (1.15, 1.08, 1.14), paint, lambda local: local[1] > 0.22)
                self._ball((0, 0.42, 0.95), (0.82, 0.09, 0.75), plain(scaled(colour, 0.8)))
            case "beanie":

                def knitted(local: Array) -> Array:
                    ribs = 1 + 0.14 * np.sin(24 * np.arctan2(local[0], local[2]))
                    return np.array(colour) * (ribs * np.where(local[1] < 0.32, 0.75, 1.0))[:, None]

                self._ball((0, 0.22, -0.06), (1.17, 1.2, 1.15), knitted, lambda local: local[1] > 0.05)
                if identity.parting:
                    self._ball((0, 1.5, -0.06), (0.3, 0.26, 0.26), plain(scaled(colour, 1.25)))
            case "brimmed":
                band = np.array(scaled(colour, 0.45))

                def banded(local: Array) -> Array:
                    return np.where((local[1] < 0.45)[:, None], band, np.array(colour))

                self._ball((0, 0.25, -0.03), (1.12, 1.1, 1.1), banded, lambda local: local[1] > 0.1)
                self._ball((0, 0.38, 0), (1.85, 0.1, 1.7), paint)
            case "helmet":

                def ridged(local: Array) -> Array:
                    return np.array(colour) * np.where(np.abs(local[0]) < 0.14, 1.12, 1.0)[:, None]

                self._ball((0, 0.2, 0), (1.22, 1.15, 1.22), ridged, lambda local: local[1] > 0.12)
                self._ball((0, 0.34, 0.25), (1.3, 0.09, 1.35), plain(scaled(colour, 0.85)))
            case "hood":
                top = plain(scaled(identity.top, 0.96))
                self._ball((0, -0.05, -0.12), (1.3, 1.28, 1.25), top, _open_face(0.62, 0.78))
                self._ball((0, -1.25, -0.1), (1.25, 0.55, 1.1), top)
            case "scarf":
                self._ball((0, 0.0, -0.06), (1.15, 1.14, 1.12), paint, _open_face(0.66, 0.72))
                self._ball((0, -1.2, -0.02), (1.15, 0.7, 1.1), plain(scaled(colour, 0.95)))


def _open_face(width: float, height: float) -> Keep:
    """Keep a wrapping everywhere except in an oval in front of the face."""
    return lambda local: (local[2] < 0.1) | (np.hypot(local[0] / width, (local[1] + 0.08) / height) > 1)


def scaled(colour: Colour, factor: float) -> Colour:
    """Return a lighter or darker shade."""
    red, green, blue = (min(channel * factor, 1.0) for channel in colour)
    return red, green, blue
