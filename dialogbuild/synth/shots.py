"""Shots and seats: who is in the picture when, where, and through which camera."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dialogbuild.head.camera import Camera
from dialogbuild.synth.script import Script
from dialogbuild.synth.spec import DEFAULT_FOCAL_OVER_WIDTH, DialogueSpec

SEAT_YAW_RAD = float(np.radians(22.0))

_SHORTEST_CLOSE_UP_S = 1.2


@dataclass(frozen=True)
class Seat:
    """Where one person is for the camera in one shot.

    Attributes:
        visible: the shot shows the person.
        yaw_rad: rest rotation of the body; positive turns the face to the image's right.
        transl_m: (x, y, z) of the head's origin, camera axes.
        focal_px, cx_px, cy_px: the camera of the person's view, pixels of the whole frame.
        view_px: (x0, y0, x1, y1) of the frame that shows this view.
    """

    visible: bool
    yaw_rad: float
    transl_m: tuple[float, float, float]
    focal_px: float
    cx_px: float
    cy_px: float
    view_px: tuple[int, int, int, int]


@dataclass(frozen=True)
class Shot:
    """Half-open range of frames with one framing."""

    start_frame: int
    end_frame: int
    seats: tuple[Seat, ...]


def plan_shots(spec: DialogueSpec, script: Script, n_people: int) -> list[Shot]:
    """The shots of a video, tiling its frames, with every person's seat."""
    times_s = spec.frame_times_s()
    cuts_s = list(spec.cuts)
    if spec.layout == "close_ups" and not cuts_s:
        cuts_s = _cuts_at_turns(script, spec.length_s)
    edges = [0, *(int(i) for i in np.searchsorted(times_s, cuts_s)), len(times_s)]
    ranges = [(a, b) for a, b in pairwise(edges) if b > a]
    first = next((turn.person for turn in script.turns), 0)
    return [Shot(a, b, _seats(spec, i, first, n_people)) for i, (a, b) in enumerate(ranges)]


def _cuts_at_turns(script: Script, length_s: float) -> list[float]:
    turns = [turn for turn in script.turns if turn.kind == "turn"]
    cuts: list[float] = []
    for before, after in pairwise(turns):
        at_s = max(before.end_s, after.start_s) - 0.1
        clear = at_s - (cuts[-1] if cuts else 0.0) >= _SHORTEST_CLOSE_UP_S and at_s <= length_s - _SHORTEST_CLOSE_UP_S
        if before.person != after.person and clear:
            cuts.append(at_s)
    return cuts


def _seats(spec: DialogueSpec, shot: int, first: int, n_people: int) -> tuple[Seat, ...]:
    swapped = spec.swap_sides ^ (spec.swap_each_cut and shot % 2 == 1)
    seats = []
    for person in range(n_people):
        side = 0 if person == 2 else (-1 if (person == 0) != swapped else 1)
        visible = person < spec.faces
        if spec.layout == "close_ups":
            visible &= person == (first + shot) % 2 or spec.faces == 1
        seats.append(_seat(spec, shot, side, visible))
    return tuple(seats)


def _seat(spec: DialogueSpec, shot: int, side: int, visible: bool) -> Seat:
    """A seat at the frame's left (-1), right (+1) or in the back (0)."""
    width, height = spec.width_px, spec.height_px
    # Framing follows a 16:9 window, so that tall and wide pictures hold the same people at the same distance.
    base = min(width, height * 16 / 9)
    focal = spec.focal_over_width * base
    # Places are written for the default lens; with another one everyone stands so that the face keeps its size.
    zoom = spec.focal_over_width / DEFAULT_FOCAL_OVER_WIDTH
    nearer = 0.88 if shot % 2 else 1.0
    view, centre = (0, 0, width, height), (width / 2, height / 2)
    if spec.layout == "split_screen":
        half = width // 2
        view = (0, 0, half, height) if side < 0 else (half, 0, width, height)
        centre = ((view[0] + view[2]) / 2, height / 2)
        place, yaw = (-0.01 * side, -0.035, 0.72 * nearer), -0.4 * side * SEAT_YAW_RAD
    elif spec.layout == "close_ups":
        place, yaw = (0.05 * side, -0.035, 0.66 * nearer), -0.8 * side * SEAT_YAW_RAD
    elif side == 0:
        place, yaw = (0.0, 0.07 * nearer, 1.5 * nearer), 0.0
    elif spec.faces == 1:
        place, yaw = (0.04 * side, -0.035, 0.80 * nearer), -0.7 * side * SEAT_YAW_RAD
    else:
        place, yaw = (0.195 * nearer * side, -0.045 * nearer, 0.92 * nearer), -side * SEAT_YAW_RAD
    x_m, y_m, z_m = place[0], place[1], place[2] * zoom
    # In a tall picture people move down until the frame still cuts off the chest, where the head model ends.
    y_m += max(0.0, height / 2 - base * 9 / 32) * z_m / focal
    return Seat(visible, float(yaw), (float(x_m), float(y_m), float(z_m)), focal, *centre, view)


def view_camera(seat: Seat) -> Camera:
    """The camera of a seat's view: its image is the view's rectangle."""
    x0, y0, x1, y1 = seat.view_px
    return Camera(seat.focal_px, seat.cx_px - x0, seat.cy_px - y0, x1 - x0, y1 - y0)
