"""The lens: the face keeps its size and place in the picture, and only perspective changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dialogbuild.errors import ConfigError
from dialogbuild.synth import DialogueSpec, make_speech
from dialogbuild.synth.script import make_script
from dialogbuild.synth.shots import plan_shots

SHORT = DialogueSpec(seed=2, duration_s=1.0)


@pytest.mark.parametrize("layout", ["same_shot", "split_screen", "close_ups"])
@pytest.mark.parametrize("size_px", [(640, 360), (360, 640)])
def test_a_longer_lens_puts_every_seat_farther_by_the_same_factor(layout: str, size_px: tuple[int, int]) -> None:
    spec = replace(SHORT, layout=layout, width_px=size_px[0], height_px=size_px[1])  # type: ignore[arg-type]
    script = make_script(spec)
    usual, long = (plan_shots(s, script, 2) for s in (spec, replace(spec, focal_over_width=1.65)))
    for a, b in zip(usual[0].seats, long[0].seats, strict=True):
        assert b.focal_px == pytest.approx(1.5 * a.focal_px)
        assert b.transl_m == pytest.approx((a.transl_m[0], a.transl_m[1], 1.5 * a.transl_m[2]))
        assert (a.yaw_rad, a.view_px, a.cx_px, a.cy_px) == (b.yaw_rad, b.view_px, b.cx_px, b.cy_px)


def test_the_face_keeps_its_size_and_the_nose_flattens() -> None:
    faces = {}
    for focal in (0.9, 1.1, 1.8):
        truth = make_speech(replace(SHORT, faces=1, focal_over_width=focal))[1]
        assert truth.camera.focal_px == pytest.approx(640 * focal)
        faces[focal] = truth.persons[0].landmarks_px
    for focal in (0.9, 1.8):
        height_px, usual_px = (np.linalg.norm(faces[f][:, 10] - faces[f][:, 152], axis=1).mean() for f in (focal, 1.1))
        assert height_px == pytest.approx(usual_px, rel=0.04)
        np.testing.assert_allclose(faces[focal].mean((0, 1)), faces[1.1].mean((0, 1)), atol=3.0)
    wings_px = [np.linalg.norm(faces[f][:, 129] - faces[f][:, 358], axis=1).mean() for f in (0.9, 1.8)]
    eyes_px = [np.linalg.norm(faces[f][:, 33] - faces[f][:, 263], axis=1).mean() for f in (0.9, 1.8)]
    assert wings_px[0] / eyes_px[0] > 1.01 * wings_px[1] / eyes_px[1], "what is near is larger through a short lens"


def test_an_impossible_lens_is_refused() -> None:
    with pytest.raises(ConfigError, match="focal_over_width"):
        DialogueSpec(focal_over_width=0.0)
