"""Stills of one person: the crop, its landmarks, and the fitted head drawn over it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.dataset import crop
from dialogbuild.dataset.reader import Person
from dialogbuild.dataset.rows import bit, principal_px
from dialogbuild.dataset.schema import CROP_PX

if TYPE_CHECKING:
    from dialogbuild.head.camera import Camera
    from dialogbuild.head.model import HeadModel

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Stills:
    """Images (px, px, 3) per chosen tick; ``mesh`` is empty when there is no head model to draw."""

    ticks: tuple[int, ...]
    plain: tuple[Image, ...]
    landmarks: tuple[Image, ...]
    mesh: tuple[Image, ...]


def choose_ticks(person: Person, even: int = 6, worst: int = 2) -> tuple[list[int], list[int]]:
    """Ticks to look at: evenly spaced ones where the person is seen, and the worst-fitted ones.

    Returns:
        Two ascending lists without common members; the second is shorter when fewer rows have a fit.
    """
    seen = np.flatnonzero(person.landmarks["crop_ok"])
    at = seen if len(seen) else np.arange(len(person.landmarks["crop_ok"]))
    spread = at[np.unique(np.round((np.arange(even) + 0.5) / even * len(at) - 0.5).astype(int))]
    bad = worst_ticks(person, worst + even)
    return sorted(int(t) for t in spread), sorted([t for t in bad if t not in set(spread.tolist())][:worst])


def worst_ticks(person: Person, n: int, apart: int = 12) -> list[int]:
    """Ticks with the largest landmark error relative to the face, at least ``apart`` ticks from each other."""
    error = np.where(bit(person.motion["valid"], "fit_ok"), person.quality["reproj_pct_iod"], -1.0)
    out: list[int] = []
    for tick in np.argsort(-error, kind="stable"):
        if error[tick] < 0 or len(out) == n:
            break
        if all(abs(tick - other) >= apart for other in out):
            out.append(int(tick))
    return out


def stills(person: Person, ticks: Sequence[int], head: HeadModel | None, px: int = 136) -> Stills:
    """Plain, landmark and mesh images of a person at some ticks (ascending)."""
    from dialogbuild.render.overlay import draw_landmarks

    plain, dotted, meshed = [], [], []
    for tick, image in zip(ticks, person.frames(ticks), strict=True):
        matrix = person.landmarks["crop_m"][tick].reshape(2, 3)
        valid = person.motion["valid"][tick : tick + 1]
        plain.append(_shrink(image, px))
        points = crop.apply(matrix, person.landmarks["lmk_px"][tick].reshape(-1, 2))
        known = bit(valid, "landmarks_ok")[0]
        dotted.append(_shrink(draw_landmarks(image, points, (0.45, 1, 0.55), 2.2), px) if known else plain[-1])
        if head is not None:
            fine = 2 * px  # drawn at twice the size: edges come out smooth
            camera = crop_camera(person, tick, matrix * (fine / CROP_PX), fine)
            fitted = bit(valid, "fit_ok")[0] or bit(valid, "interpolated")[0]
            drawn = draw_head(_shrink(image, fine), person, tick, head, camera) if fitted else image
            meshed.append(_shrink(drawn, px))
    return Stills(tuple(ticks), tuple(plain), tuple(dotted), tuple(meshed))


def _shrink(image: Image, px: int) -> Image:
    import cv2

    return np.asarray(cv2.resize(image, (px, px), interpolation=cv2.INTER_AREA), np.uint8)


def crop_camera(person: Person, tick: int, matrix: NDArray[Any], px: int) -> Camera:
    """The camera that sees one tick's source frame through a crop. ``matrix`` (2, 3) has no rotation."""
    from dialogbuild.head.camera import Camera

    scale = float(matrix[0, 0])
    centre = crop.apply(matrix, principal_px(person.motion, person.track)[tick].astype(float))
    return Camera(float(person.track["focal_px"]) * scale, float(centre[0]), float(centre[1]), px, px)


def draw_head(image: Image, person: Person, tick: int, head: HeadModel, camera: Camera) -> Image:
    """The fitted head of one tick over an image that ``camera`` sees; returns a copy."""
    from dialogbuild.head.pose import HeadPose, pose_head, to_camera
    from dialogbuild.render.overlay import overlay_mesh

    names = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "transl_m")
    pose = HeadPose(person.shape, *(person.motion[name][tick : tick + 1] for name in names))
    vertices = to_camera(pose_head(head, pose), pose.transl_m)[0]
    return overlay_mesh(image, vertices, _above_shoulders(head), camera, colour=(0.62, 0.8, 1.0), alpha=0.6)


def _above_shoulders(head: HeadModel) -> NDArray[np.int32]:
    torso = np.zeros(head.n_vertices, bool)
    torso[head.masks.get("torso", np.zeros(0, np.int32))] = True
    return np.asarray(head.faces[~torso[head.faces].any(axis=1)])


def montage(images: Sequence[Image], gap_px: int = 4) -> Image:
    """Images of one height side by side on white."""
    height = images[0].shape[0]
    bar = np.full((height, gap_px, 3), 255, np.uint8)
    row: list[Image] = []
    for image in images:
        row += [image, bar]
    return np.concatenate(row[:-1], axis=1)


def data_uri(image: Image, quality: int = 82) -> str:
    """An image as an embedded JPEG."""
    import cv2

    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "an RGB image of 8 bits can always be encoded"
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
