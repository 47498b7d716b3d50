"""Every row tells through which camera it is seen; who reads rows projects each through its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dialogbuild.dataset import rows
from dialogbuild.dataset.exporters import arrays
from dialogbuild.report.overlay import crop_camera

LEFT, WHOLE = (160.0, 180.0), (320.0, 180.0)
TRACK = {"focal_px": 700.0, "cx_px": WHOLE[0], "cy_px": WHOLE[1]}


def motion(*centres: tuple[float, float], valid: int = 0b10) -> dict[str, np.ndarray]:
    n = len(centres)
    x, y = np.array(centres, np.float32).T
    return {"tick": np.arange(n), "valid": np.full(n, valid, np.uint32), "cx_px": x, "cy_px": y}


def person(*centres: tuple[float, float]) -> SimpleNamespace:
    """Somebody whose crops are the picture's part from (100, 50) on, twice as large."""
    crop_m = np.tile(np.array([2, 0, -200, 0, 2, -100], np.float32), (len(centres), 1))
    return SimpleNamespace(motion=motion(*centres), track=TRACK, landmarks={"crop_m": crop_m})


def test_rows_have_their_own_principal_point_and_old_datasets_the_tracks():
    assert rows.principal_px(motion(LEFT, WHOLE), TRACK).tolist() == [list(LEFT), list(WHOLE)]
    old = {"tick": np.arange(2)}
    assert rows.principal_px(old, TRACK).tolist() == [list(WHOLE)] * 2


def test_a_tracks_row_has_the_point_of_most_fitted_rows():
    table = motion(LEFT, LEFT, WHOLE, WHOLE, WHOLE)
    assert rows.usual_centre_px(table, TRACK, np.array([1, 1, 1, 0, 0], bool)) == LEFT
    assert rows.usual_centre_px(table, TRACK, np.zeros(5, bool)) == WHOLE


def test_exported_cameras_of_crops_follow_the_pane():
    k = arrays.crop_camera(person(LEFT, WHOLE), slice(None))
    assert k[:, 0, 0].tolist() == [1400.0, 1400.0]
    assert k[:, 0, 2].tolist() == [120.0, 440.0]
    assert k[:, 1, 2].tolist() == [260.0, 260.0]
    one = arrays.crop_camera(person(LEFT, WHOLE), np.array([1]))
    assert one[0].tolist() == k[1].tolist()


@pytest.mark.parametrize(("tick", "cx_px"), [(0, 120.0), (1, 440.0)])
def test_the_reports_heads_are_drawn_through_the_panes_camera(tick, cx_px):
    who = person(LEFT, WHOLE)
    camera = crop_camera(who, tick, who.landmarks["crop_m"][tick].reshape(2, 3), 512)
    assert (camera.focal_px, camera.cx_px, camera.cy_px) == (1400.0, cx_px, 260.0)
