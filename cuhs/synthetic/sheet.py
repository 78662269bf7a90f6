"""The contact sheet: an overview of FG-Synth in one image."""

from collections.abc import Callable, Mapping

from PIL import Image, ImageDraw

from cuhs.synthetic.camera import Box
from cuhs.synthetic.orders import GROUPS, Order, Orders

LINES, PEOPLE, SHOTS = 2, 5, 4  # for each group: lines, people in a line, images of a person
WIDTH, HEIGHT, GAP, MARGIN = 80, 160, 8, 22


def contact_sheet(
    orders: Orders, load: Callable[[Order], Image.Image], boxes: Mapping[tuple[str, str], Box]
) -> Image.Image:
    """Draw identities of Market-1501 by clothing group, each in several cameras, with a box on every third image.

    Args:
        orders: the dataset.
        load: reads an order's image.
        boxes: (source, path) → head-shoulder box in pixels.
    """
    step = SHOTS * WIDTH + GAP
    sheet = Image.new("RGB", (PEOPLE * step + GAP, len(GROUPS) * (LINES * (HEIGHT + GAP) + MARGIN)), "white")
    draw = ImageDraw.Draw(sheet)
    shots = _shots(orders)
    drawn = 0
    for row, group in enumerate(GROUPS):
        top = row * (LINES * (HEIGHT + GAP) + MARGIN)
        draw.text((GAP, top + 5), f"{group}: every four images are one person", fill="black")
        people = [pid for pid in shots if orders.colours["market1501"][pid] == group]
        for i, pid in enumerate(people[: LINES * PEOPLE]):
            x, y = GAP + i % PEOPLE * step, top + MARGIN + i // PEOPLE * (HEIGHT + GAP)
            for n, order in enumerate(shots[pid]):
                with load(order) as image:
                    scale = (WIDTH / image.width, HEIGHT / image.height)
                    sheet.paste(image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), (x + n * WIDTH, y))
                box = boxes.get((order.source, order.path))
                if box is not None and drawn % 3 == 0:
                    x1, x2 = (x + n * WIDTH + round(value * scale[0]) for value in box[::2])
                    y1, y2 = (y + round(value * scale[1]) for value in box[1::2])
                    draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=(60, 230, 90))
                drawn += 1
    return sheet


def _shots(orders: Orders) -> dict[int, list[Order]]:
    """Choose up to :data:`SHOTS` images of each identity of Market-1501, from as many cameras as possible."""
    seen: dict[int, dict[int, list[Order]]] = {}
    for order in orders.images:
        if order.source == "market1501" and order.pid is not None and order.framing.miss == 0:
            seen.setdefault(order.pid, {}).setdefault(order.camera, []).append(order)
    chosen = {}
    for pid, cameras in sorted(seen.items(), key=lambda item: (-len(item[1]), item[0])):
        rounds = [images[n] for n in range(SHOTS) for images in cameras.values() if n < len(images)]
        chosen[pid] = sorted(rounds[:SHOTS], key=lambda order: order.camera)
    return chosen
