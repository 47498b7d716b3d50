"""``fit-flame VIDEO`` on split screens: what is written of a face has its own camera."""

from __future__ import annotations

import numpy as np

from dialogbuild.fit.clip import nothing
from dialogbuild.fit.evidence import Evidence
from dialogbuild.fit.view import View
from dialogbuild.fitvideo.measure import Fitted, fitted_face
from dialogbuild.fitvideo.overlay import View as Panel
from dialogbuild.fitvideo.overlay import _Drawn
from dialogbuild.fitvideo.prepare import Face
from dialogbuild.fitvideo.seam import FaceFit
from dialogbuild.fitvideo.write import npz_arrays
from dialogbuild.head import load_head

IMAGE, T = (640, 360), 3


def fitted() -> Fitted:
    """A face that is alone in the picture at tick 0, and in its left half from tick 1 on."""
    head = load_head()
    offset = np.array([[0, 0], [-160, 0], [-160, 0]], np.int32)
    box = np.array([[0, 0, 640, 360], [0, 0, 320, 360], [0, 0, 320, 360]], np.int32)
    seen = np.ones(T, bool)
    points = np.full((T, 478, 2), 100, np.float32)
    evidence = Evidence(np.arange(T), points, np.zeros((T, 478), np.float32), seen, seen, np.ones(T - 1, bool))
    fit = FaceFit(np.zeros(head.n_shape), np.zeros(head.n_shape), 700.0, 50.0, nothing(T, 18 + head.n_expr))
    ticks = {"tick": np.arange(T), "frame": np.arange(T), "pts": np.arange(T) * 512}
    view = View(offset, box, IMAGE)
    return fitted_face(Face(0, 0, (0,), 0, T), fit, evidence, view, ticks, np.array([0, T]))


def test_every_row_tells_its_principal_point_and_detections_stay_in_the_picture():
    face = fitted()
    assert face.motion["cx_px"].tolist() == [320.0, 160.0, 160.0]
    assert (face.camera.cx_px, face.camera.width_px, face.camera.height_px) == (320.0, 640, 360)
    assert (face.detected_px == 100).all()


def test_the_npz_has_a_principal_point_per_row():
    arrays = npz_arrays(load_head(), [fitted()], "0" * 64)
    assert arrays["principal_px"].tolist() == [[320.0, 180.0], [160.0, 180.0], [160.0, 180.0]]
    assert arrays["camera"].tolist() == [[700.0, 320.0, 180.0, 640.0, 360.0]]


def test_the_overlay_draws_each_tick_through_its_pane():
    drawn = _Drawn(load_head(), fitted(), {}, Panel(0.5, 20, 10, 200, 100, 1))
    assert [drawn.camera(row).cx_px for row in range(T)] == [140.0, 60.0, 60.0]
    assert drawn.camera(1).focal_px == 350.0
