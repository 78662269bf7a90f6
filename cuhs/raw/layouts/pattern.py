"""Your own images: a regular expression says what their paths mean."""

import re
from collections import defaultdict
from pathlib import Path

from cuhs.errors import CuhsError
from cuhs.raw.layouts.listing import WrongLayout, held, image_tree, require_root
from cuhs.raw.layouts.market_form import FOLDERS
from cuhs.raw.records import RawImage, Split, composed, written

GROUPS = ("pid", "camid", "split", "frame")

# Beside queries, what datasets call "test" is the gallery.
ROLES: dict[str, Split] = {"train": "train", "query": "query", "gallery": "gallery", "test": "gallery", **FOLDERS}


def read(root: Path, pattern: str) -> list[RawImage]:
    r"""List all images in and below ``root`` whose paths match ``pattern``, sorted by path.

    The whole path relative to ``root`` has to match, with forward slashes and without extension. Letters with accents
    are one character each, however the file system writes them. An example is
    ``(?P<split>train|query|gallery)/(?P<pid>\d+)_c(?P<camid>\d+)_(?P<frame>\d+)``. The named groups mean:

    * ``pid``, required: the identity, a number or any text. It is read as text, so 0 is a person like any other.
      Numbers are the same with and without leading zeros.
    * ``camid``: the camera, a number or any text. Without this group cameras are unknown, and every image counts as
      seen by a camera of its own. All other images of a person then match a query, including near-duplicates, as
      in the datasets without camera labels (:mod:`cuhs.raw.layouts.bodies`).
    * ``split``: ``train``, ``query`` or ``gallery``, or one of Market-1501's folder names; ``test`` is the gallery if
      there are queries. Without this group, identities are drawn for training and testing.
    * ``frame``: ignored.

    Raises:
        CuhsError: ``root`` is missing or holds no image; the pattern is no regular expression, lacks ``pid``,
            names another group, or matches no path; a group is empty in some paths, so their meaning is open; a
            split has another name; or no query could have a match in another camera.
    """
    require_root(root, "the pattern layout takes the images in it and below")
    paths = [path.relative_to(root) for path in image_tree(root)]
    if not paths:
        raise CuhsError(f"{root}: no image in it or below; {held(root)}")

    examples = ", ".join(repr(path.with_suffix("").as_posix()) for path in paths[:: -(-len(paths) // 3)])
    paths_held = f"{root} holds paths such as {examples}"

    def wrong(problem: str) -> CuhsError:
        return CuhsError(f"pattern {pattern!r} {problem}; {paths_held}")

    try:
        compiled = re.compile(composed(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise wrong(f"is no regular expression ({error})") from error
    groups = compiled.groupindex.keys()
    if "pid" not in groups:
        raise wrong("has no group (?P<pid>…) for the identity")
    if unknown := sorted(groups - set(GROUPS)):
        raise wrong(f"has a group {unknown[0]}; the groups are {', '.join(GROUPS)}")
    matches = [(path, compiled.fullmatch(composed(path.with_suffix("").as_posix()))) for path in paths]
    found = [(path.as_posix(), match.groupdict()) for path, match in matches if match]
    if not found:
        raise WrongLayout(f"pattern {pattern!r} matches no path", paths_held)
    for group in groups:
        empty = [path for path, meant in found if not meant[group]]
        if empty:
            raise wrong(f"leaves {group} empty in {len(empty)} of {len(found)} paths, such as {empty[0]!r}")
    if "split" in groups:
        other = [(path, meant["split"]) for path, meant in found if meant["split"] not in ROLES]
        if other:
            raise wrong(f"reads {other[0][0]!r} as of split {other[0][1]!r}; the splits are {', '.join(ROLES)}")
        splits = {meant["split"]: path for path, meant in found}
        if "test" in splits and "query" not in splits:
            raise wrong(
                f"reads {splits['test']!r} as of split 'test' and nothing as query; leave split out to draw both"
            )
    images = [_image(path, meant) for path, meant in found]
    if not _can_match(images):
        raise wrong(
            "gives no query a match in another camera; leave camid out where cameras are unknown"
            if "camid" in groups
            else "gives no query a second image of its identity"
        )
    return sorted(images)


def _image(path: str, meant: dict[str, str]) -> RawImage:
    camid, split = meant.get("camid"), meant.get("split")
    return RawImage(
        path,
        written(meant["pid"]),
        int(camid) if camid and camid.isdecimal() else camid,
        ROLES[split] if split else None,
    )


def _can_match(images: list[RawImage]) -> bool:
    """Return whether there is no query, or at least one query has an image in another camera."""
    cameras: dict[int | str, set[int | str]] = defaultdict(set)
    for image in images:
        if image.split in (None, "gallery"):
            cameras[image.pid].add(image.camera)
    queries = [image for image in images if image.split in (None, "query")]
    return not queries or any(cameras[query.pid] - {query.camera} for query in queries)
