"""Each test reads an export by the rule of its consumer's own loader, written here from the loader's description."""

import json

import av
import numpy as np
import pytest

from dialogbuild.dataset.exporters import vhap

CLIP = "talk-35_c000"


def read_scene(folder, part):
    """GaussianAvatars' rule: field of view and pose only; the principal point is the picture's centre."""
    cameras, meshes = [], {}
    for frame in json.loads((folder / f"transforms_{part}.json").read_text())["frames"]:
        c2w = np.array(frame["transform_matrix"])
        c2w[:3, 1:3] *= -1
        w2c = np.linalg.inv(c2w)
        width, height = frame["w"], frame["h"]
        focal = width / 2 / np.tan(frame["camera_angle_x"] / 2)
        k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        cameras.append((frame, k @ w2c[:3]))
        if frame["timestep_index"] not in meshes:
            with np.load(folder / frame["flame_param_path"]) as stored:
                meshes[frame["timestep_index"]] = dict(stored)
    return cameras, meshes


def read_png(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def colour(image, xy):
    """Mean colour of the 5x5 pixels around a point; pixel centres at .5."""
    x, y = (int(v) for v in xy)
    return image[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(0)


@pytest.fixture(scope="module")
def scenes(flame, tmp_path_factory):
    root = tmp_path_factory.mktemp("x")
    for camera in ("centred", "crop"):
        options = vhap.VHAPOptions(camera=camera, every=12, shortest=10, splits=("val",))
        vhap.export(flame, root / camera, options)
    return root


def tracks(flame):
    clip = flame.read_clip(CLIP, families=("motion", "landmarks"), audio=False)
    return {f"{CLIP}_p{i}": clip.persons[role] for i, role in enumerate("AB")}


def test_the_format_is_recognised_and_every_timestep_has_its_parameters(scenes, flame):
    for name, person in tracks(flame).items():
        folder = scenes / "centred" / name
        assert (folder / "canonical_flame_param.npz").is_file()
        meshes = {**read_scene(folder, "train")[1], **read_scene(folder, "test")[1]}
        assert sorted(meshes) == list(range(len(meshes))), "timesteps are counted up to the largest"
        assert 0 in read_scene(folder, "train")[1], "shape and offsets are read from timestep 0"
        assert {f["timestep_index"] for f, _ in read_scene(folder, "val")[0]} <= set(meshes)
        shapes = {k: v.shape for k, v in meshes[0].items()}
        assert shapes == {
            "translation": (1, 3), "rotation": (1, 3), "neck_pose": (1, 3), "jaw_pose": (1, 3), "eyes_pose": (1, 6),
            "expr": (1, 100), "shape": (300,), "static_offset": (1, 5023, 3),
        }  # fmt: skip
        everything = json.loads((folder / "transforms.json").read_text())["frames"]
        for frame in everything:
            mesh, tick = meshes[frame["timestep_index"]], frame["timestep_index_original"]
            assert person.motion["valid"][tick] & 0b110, "only ticks with a fit are written"
            for theirs, ours in (("expr", "expr"), ("rotation", "root_rad"), ("neck_pose", "neck_rad"),
                                 ("jaw_pose", "jaw_rad"), ("eyes_pose", "eyes_rad")):  # fmt: skip
                np.testing.assert_array_equal(mesh[theirs][0], person.motion[ours][tick])
            assert {v.dtype for v in mesh.values()} == {np.dtype(np.float32)}


def points_near_the_face(person, tick):
    """Points around the head in source camera axes, the same in world axes, and where the crop shows them."""
    offset = np.array([[0, 0, 0], [0.03, 0, 0], [-0.03, 0.02, 0.01], [0.0, 0.05, 0.0], [0.02, -0.06, 0.02]])
    camera = person.motion["transl_m"][tick].astype(float) + offset
    track = person.track
    source = np.stack(
        [
            track["focal_px"] * camera[:, 0] / camera[:, 2] + track["cx_px"],
            track["focal_px"] * camera[:, 1] / camera[:, 2] + track["cy_px"],
            np.ones(len(camera)),
        ]
    )
    crop = person.landmarks["crop_m"][tick].reshape(2, 3).astype(float) @ source
    return camera * [1, -1, -1], crop.T


def test_the_centred_camera_shows_every_point_where_the_warped_picture_has_it(scenes, flame):
    for name, person in tracks(flame).items():
        folder = scenes / "centred" / name
        cameras, meshes = read_scene(folder, "train")
        distinct = []
        for frame, projection in cameras[::3]:
            tick = frame["timestep_index_original"]
            assert (frame["cx"], frame["cy"]) == (256, 256)
            world, crop = points_near_the_face(person, tick)
            np.testing.assert_allclose(meshes[frame["timestep_index"]]["translation"][0], world[0], atol=1e-6)
            seen = (projection @ np.c_[world, np.ones(len(world))].T).T
            seen = seen[:, :2] / seen[:, 2:]
            warped = read_png(folder / frame["file_path"])
            (original,) = person.frames([tick])
            for there, here in zip(seen, crop, strict=True):
                np.testing.assert_allclose(colour(warped, there), colour(original, here), atol=12)
                distinct.append(colour(original, here))
        assert np.ptp(np.array(distinct), axis=0).max() > 40, "points of one colour would prove nothing"


def test_the_crop_camera_leaves_pictures_alone_and_tells_its_principal_point(scenes, flame):
    for name, person in tracks(flame).items():
        folder = scenes / "crop" / name
        frame = json.loads((folder / "transforms.json").read_text())["frames"][2]
        np.testing.assert_array_equal(frame["transform_matrix"], np.eye(4))
        tick = frame["timestep_index_original"]
        (original,) = person.frames([tick])
        np.testing.assert_array_equal(read_png(folder / frame["file_path"]), original)
        world, crop = points_near_the_face(person, tick)
        x = frame["fl_x"] * world[:, 0] / -world[:, 2] + frame["cx"]
        y = frame["fl_y"] * -world[:, 1] / -world[:, 2] + frame["cy"]
        np.testing.assert_allclose(np.stack([x, y], 1), crop, atol=1e-2)
        assert abs(frame["cx"] - 256) > 20, "in a split screen the principal point is far from the crop's centre"


def test_the_last_tenth_is_for_testing_and_is_not_in_training(scenes):
    for folder in (scenes / "centred").iterdir():
        if folder.is_dir():
            parts = {p: {f["timestep_index"] for f, _ in read_scene(folder, p)[0]} for p in ("train", "val", "test")}
            assert parts["train"].isdisjoint(parts["test"])
            assert parts["val"] == parts["test"]
            assert max(parts["train"]) < min(parts["test"])
