"""A small software renderer: shaded ellipsoids and lofts with a depth buffer, seen by a distant camera.

Coordinates of a person: x points to the viewer's right when the person faces the camera, y up from the ground, z
forward. One unit is the person's height. The view turns the person by ``yaw`` and looks down by ``pitch``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Array = np.ndarray
Paint = Callable[[Array], Array]  # local coordinates (3, N) → RGB (N, 3) or (3,)
Keep = Callable[[Array], Array]  # local coordinates (3, N) → bool (N,)

# Part that a pixel shows. Parts below BODY count as head and shoulders if they are above the armpits.
HEAD, CLOTH, ARM, BODY, CARRIED = 1, 2, 3, 4, 5


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Array:
    """Return a ``(3, 3)`` rotation matrix: roll about z, then pitch about x, then yaw about y; in radians."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


@dataclass(frozen=True)
class View:
    """Position of the camera, and the conversion of units to pixels."""

    yaw: float
    pitch: float
    perspective: float  # how much larger the head appears than the feet: 0.2 is 20 %
    scale: float  # pixels per unit
    x: float  # column of the person's axis
    ground: float  # row of the ground under the person

    @cached_property
    def matrix(self) -> Array:
        """``(3, 3)`` rotation from the person's axes to the camera's (right, up, towards the camera)."""
        return rotation(pitch=self.pitch) @ rotation(yaw=self.yaw)

    def project(self, point: Array) -> tuple[float, float, float, float]:
        """Return column, row and depth (larger is nearer) in pixels, and pixels per unit at the point."""
        right, up, near = self.matrix @ point
        # Size grows linearly with height. The row is its integral, so that shapes join without gaps.
        size = self.scale * (1 + self.perspective * (up - 0.5))
        height = self.scale * (up + self.perspective * (up * up - up) / 2)
        return self.x + size * right, self.ground - height, size * near, size


class Canvas:
    """Depth, colour, normal and part of every pixel; shapes can be drawn in any order."""

    def __init__(self, height: int, width: int, view: View) -> None:
        self.view = view
        self.depth = np.full((height, width), -np.inf, np.float32)
        self.colour = np.zeros((height, width, 3), np.float32)
        self.normal = np.zeros((height, width, 3), np.float32)
        self.part = np.zeros((height, width), np.uint8)

    def crop(self, window: tuple[slice, slice]) -> None:
        """Keep only the given rows and columns; nothing can be drawn afterwards."""
        for name in ("depth", "colour", "normal", "part"):
            setattr(self, name, getattr(self, name)[window])

    def _window(self, x: tuple[float, float], y: tuple[float, float]) -> tuple[int, int, Array, Array] | None:
        height, width = self.part.shape
        left, right = max(int(x[0]), 0), min(int(x[1]) + 2, width)
        top, bottom = max(int(y[0]), 0), min(int(y[1]) + 2, height)
        if left >= right or top >= bottom:
            return None
        return left, top, np.arange(left, right) + 0.5, np.arange(top, bottom)[:, None] + 0.5

    def _put(self, rows: Array, columns: Array, z: Array, normal: Array, colour: Array, part: int) -> None:
        self.depth[rows, columns] = z
        self.normal[rows, columns] = (normal / np.sqrt(np.einsum("ij,ij->j", normal, normal))).T
        self.colour[rows, columns] = colour
        self.part[rows, columns] = part

    def ellipsoid(
        self,
        centre: Array,
        radii: tuple[float, float, float],
        paint: Paint,
        part: int,
        axes: Array | None = None,
        keep: Keep | None = None,
    ) -> None:
        """Draw an ellipsoid.

        Args:
            centre: ``(3,)``.
            radii: radii along its own axes.
            paint: maps surface points, in its own axes and divided by the radii (unit vectors), to colours.
            part: part that the pixels show.
            axes: ``(3, 3)``, its axes as columns; the person's by default.
            keep: tells which surface points exist; where the near side is cut away, the inside of the far side shows.
        """
        x, y, near, size = self.view.project(centre)
        basis = self.view.matrix if axes is None else self.view.matrix @ axes
        r = np.asarray(radii) * size
        reach = np.sqrt(((basis * r) ** 2).sum(1))
        window = self._window((x - reach[0], x + reach[0]), (y - reach[1], y + reach[1]))
        if window is None:
            return
        left, top, columns, rows = window
        dx, dy = columns - x, y - rows
        q = (basis / r**2) @ basis.T
        half_b = q[0, 2] * dx + q[1, 2] * dy
        c = q[0, 0] * dx * dx + 2 * q[0, 1] * dx * dy + q[1, 1] * dy * dy - 1
        discriminant = half_b * half_b - q[2, 2] * c
        i, j = np.nonzero(discriminant > 0)
        root, half_b = np.sqrt(discriminant[i, j]), half_b[i, j]
        flat = np.stack([dx[j], dy[i, 0]])
        for side in (1,) if keep is None else (1, -1):
            dz = (side * root - half_b) / q[2, 2]
            seen = near + dz > self.depth[top + i, left + j]
            local = (basis.T @ np.vstack([flat, dz])) / r[:, None]
            if keep is not None:
                seen &= keep(local)
            local = local[:, seen]
            normal = side * (basis @ (local / r[:, None]))
            self._put(top + i[seen], left + j[seen], near + dz[seen], normal, paint(local), part)

    def loft(
        self,
        start: Array,
        end: Array,
        profile: list[tuple[float, float, float]],
        paint: Paint,
        part: int,
        axes: Array | None = None,
    ) -> None:
        """Draw a straight body with an elliptical cross-section that changes along its length.

        Args:
            start, end: ``(3,)``.
            profile: ``(t, radius along x, radius along z)``, with t from 0 at the start to 1 at the end.
            paint: maps (x in [-1, 1], t, z in [-1, 1]) of surface points to colours.
            part: part that the pixels show.
            axes: ``(3, 3)``, whose x and z are the axes of the cross-section; the person's by default.
        """
        x0, y0, near0, size0 = self.view.project(start)
        x1, y1, near1, size1 = self.view.project(end)
        basis = self.view.matrix if axes is None else self.view.matrix @ axes
        along = np.array([x1 - x0, y0 - y1])
        length = max(float(np.hypot(*along)), 1e-3)
        along /= length
        across = np.array([along[1], -along[0]])
        # Project the two axes of the cross-section: their extent across the image, and towards the camera.
        ax, az = across @ basis[:2, 0], across @ basis[:2, 2]
        dx, dz = basis[2, 0], basis[2, 2]
        knots, rx, rz = np.array(profile).T
        size = size0 + (size1 - size0) * knots
        rx, rz = rx * size, rz * size
        aa, ab, bb = (
            rx**2 * ax**2 + rz**2 * az**2,
            rx**2 * ax * dx + rz**2 * az * dz,
            rx**2 * dx**2 + rz**2 * dz**2,
        )
        half = np.sqrt(aa)
        reach = float(half.max())
        window = self._window((min(x0, x1) - reach, max(x0, x1) + reach), (min(y0, y1) - reach, max(y0, y1) + reach))
        if window is None:
            return
        left, top, columns, rows = window
        px, py = columns - x0, y0 - rows
        t = (px * along[0] + py * along[1]) / length
        s = px * across[0] + py * across[1]
        width = np.interp(t, knots, half)
        i, j = np.nonzero((t >= 0) & (t <= 1) & (np.abs(s) < width))
        t, s, width = t[i, j], s[i, j], width[i, j]
        shear = np.interp(t, knots, ab / aa)
        thick = np.interp(t, knots, np.sqrt(np.maximum(bb - ab**2 / aa, 1e-6)))
        cap = np.sqrt(1 - (s / width) ** 2)
        z = near0 + (near1 - near0) * t + shear * s + thick * cap
        seen = z > self.depth[top + i, left + j]
        t, s, width, shear, thick, cap, z = (a[seen] for a in (t, s, width, shear, thick, cap, z))
        # Gradient of the implicit surface. The last term tilts it where the profile widens or narrows.
        towards = cap / thick
        sideways = s / width**2 - shear * towards
        lengthwise = -np.interp(t, knots, np.gradient(half, knots)) / length * np.hypot(sideways, towards)
        normal = np.stack([sideways * across[0] + lengthwise * along[0],
                           sideways * across[1] + lengthwise * along[1], towards])  # fmt: skip
        depth = shear * s + thick * cap
        local = np.stack([(s * ax + depth * dx) / np.interp(t, knots, rx), t,
                          (s * az + depth * dz) / np.interp(t, knots, rz)])  # fmt: skip
        self._put(top + i[seen], left + j[seen], z, normal, paint(local), part)


def plain(colour: tuple[float, float, float]) -> Paint:
    """Paint everything in one colour."""
    value = np.array(colour, np.float32)
    return lambda local: value
