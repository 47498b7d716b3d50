"""Active speaker detection with weights of the published shapes (random: no weights are shipped)."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from dialogbuild.dialogue import asd, asd_faces
from dialogbuild.dialogue.asd_net import Kind, Network, expected_shapes
from dialogbuild.dialogue.pcm import Pcm
from dialogbuild.errors import ConfigError
from dialogbuild.media.encode import encode_video
from dialogbuild.media.reader import VideoReader

KINDS: tuple[Kind, ...] = ("light-asd", "lr-asd")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_state(kind: Kind, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in expected_shapes(kind).items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan_in = max(int(np.prod(shape[1:])), 1)
            state[name] = torch.randn(shape, generator=generator) * (2.0 / fan_in) ** 0.5
    return state


def crops(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 112, 112), np.uint8)


def noise(n_ticks: int, seed: int = 1) -> Pcm:
    return Pcm.from_array(np.random.default_rng(seed).normal(0, 0.1, n_ticks * 640).astype(np.float32))


@pytest.fixture(scope="module", params=KINDS)
def net(request: pytest.FixtureRequest) -> Network:
    return Network(request.param, random_state(request.param))


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "tensors", "numbers"), [("light-asd", 192, 1_021_120), ("lr-asd", 168, 836_640)])
def test_the_shapes_have_the_published_number_of_weights(kind: Kind, tensors: int, numbers: int) -> None:
    """The papers say 1.02 and 0.84 million, without buffers and heads."""
    shapes = expected_shapes(kind)
    learnt = {n: s for n, s in shapes.items() if not n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    total = sum(int(np.prod(s)) for n, s in learnt.items() if n.startswith("model."))
    assert (len(shapes), total) == (tensors, numbers)


@pytest.mark.parametrize("kind", KINDS)
def test_the_names_tell_which_network_a_file_is(kind: Kind, tmp_path: Path) -> None:
    torch.save(random_state(kind), tmp_path / "w.model")
    assert asd.load_network(tmp_path / "w.model").kind == kind


def broken(change: str) -> dict[str, torch.Tensor]:
    state = random_state("light-asd")
    first = "model.visualEncoder.block2.t_5.weight"
    if change == "missing":
        del state[first]
    elif change == "extra":
        state["model.talk.weight"] = torch.zeros(1)
    elif change == "shape":
        state[first] = state[first][:, :1]
    else:
        state[first][0] = torch.nan
    return state


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", r"nearest is light-asd, but 'model\.visualEncoder\.block2\.t_5\.weight' is missing"),
        ("extra", r"'model\.talk\.weight' is not part of it"),
        ("shape", r"block2\.t_5\.weight' has the shape \(64, 1, 5, 1, 1\), not \(64, 64, 5, 1, 1\)"),
        ("nan", r"block2\.t_5\.weight' holds numbers that are not finite"),
    ],
)
def test_a_file_that_differs_is_refused_and_the_difference_named(change: str, says: str, tmp_path: Path) -> None:
    torch.save(broken(change), tmp_path / "w.model")
    with pytest.raises(ConfigError, match=says):
        asd.load_network(tmp_path / "w.model")


def test_what_is_no_state_dict_is_refused_without_running_it(tmp_path: Path) -> None:
    path = tmp_path / "w.model"
    with pytest.raises(ConfigError, match="does not exist; give a "):
        asd.load_network(path)
    path.write_text("hello")
    with pytest.raises(ConfigError, match="holds no plain torch state dict"):
        asd.load_network(path)
    torch.save([1, 2], path)
    with pytest.raises(ConfigError, match="holds no plain torch state dict"):
        asd.load_network(path)
    torch.save(torch.nn.Linear(2, 2), path)  # a whole module is code
    with pytest.raises(ConfigError, match="holds no plain torch state dict"):
        asd.load_network(path)


# The network ----------------------------------------------------------------------------------------------------------


def reference_block(x: Any, state: dict[str, torch.Tensor], stem: str, s: str, stride: int) -> Any:
    """Light-ASD's block as the paper draws it, with torch's own layers: two split paths, summed, mixed."""
    conv = torch.nn.functional.conv3d if s == "s" else torch.nn.functional.conv2d

    def layer(y: Any, name: str, step: int = 1) -> Any:
        weight = state[f"{stem}.{name}.weight"]
        steps = (1, step, step) if s == "s" else (step, step)
        y = conv(y, weight, None, steps, tuple(k // 2 for k in weight.shape[2:]))
        norm = [state[f"{stem}.bn_{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return torch.relu(torch.nn.functional.batch_norm(y, *norm, eps=1e-3))

    paths = [layer(layer(x, f"{s}_{k}", stride), f"t_{k}") for k in (3, 5)]
    return layer(paths[0] + paths[1], "last")


def test_folded_and_split_convolutions_equal_the_layers_they_stand_for() -> None:
    state = random_state("light-asd")
    net = Network("light-asd", state)
    faces, cepstra = torch.from_numpy(crops(7)), torch.randn(28, 13, generator=torch.Generator().manual_seed(3))
    x = ((faces.float() / 255 - 0.4161) / 0.1688)[None, None]
    y = cepstra.T[None, None]
    with torch.inference_mode():
        for b in (1, 2, 3):
            x = reference_block(x, state, f"model.visualEncoder.block{b}", "s", 2 if b == 1 else 1)
            y = reference_block(y, state, f"model.audioEncoder.block{b}", "m", 1)
            if b < 3:
                x = torch.nn.functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
                y = torch.nn.functional.max_pool2d(y, (1, 3), (1, 2), (0, 1))
        visual, audio = net.visual(faces), net.audio(cepstra)
    for ours, theirs in ((visual, x.amax(dim=(3, 4))[0].T), (audio, y.mean(dim=2)[0].T)):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_scores_come_one_per_picture_whatever_the_pieces(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks carry as many neighbours as the convolutions see, so that cutting the work changes nothing."""
    n = 34
    faces, sound = crops(n), noise(n + 3)
    whole = asd.score(net, faces, sound, first_tick=2)
    monkeypatch.setattr(asd, "_BLOCK_TICKS", 11)
    pieces = asd.Scorer(net, sound, first_tick=2)
    for start in range(0, n, 5):
        pieces.push(faces[start : start + 5])
    again = pieces.finish()
    assert whole.shape == again.shape == (n,)
    assert whole.dtype == np.float32
    assert np.abs(whole - again).max() < 1e-3 * np.abs(whole).max()


def test_a_margin_that_is_too_small_would_be_seen(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, sound = crops(30), noise(30)
    whole = asd.score(net, faces, sound)
    monkeypatch.setattr(asd, "_BLOCK_TICKS", 13)
    monkeypatch.setattr(net, "margin_ticks", net.margin_ticks - 2)
    assert np.abs(whole - asd.score(net, faces, sound)).max() > 1e-3 * np.abs(whole).max()


def test_both_the_picture_and_the_sound_matter(net: Network) -> None:
    base = asd.score(net, crops(26), noise(26))
    assert np.abs(asd.score(net, crops(26, seed=5), noise(26)) - base).max() > 1e-3
    assert np.abs(asd.score(net, crops(26), noise(26, seed=5)) - base).max() > 1e-3


def test_other_crops_and_none_at_all(net: Network) -> None:
    assert asd.score(net, crops(0), noise(1)).shape == (0,)
    assert asd.score(net, crops(1), noise(1)).shape == (1,)
    with pytest.raises(ValueError, match=r"\(n, 112, 112\) uint8"):
        asd.score(net, crops(3)[:, :96], noise(3))


# Sound ----------------------------------------------------------------------------------------------------------------

# python_speech_features 0.6, mfcc(signal, 16000), rows 0 and 6 of the signal below.
_PSF = [
    [17.764, 21.587, 12.262, 6.263, 0.241, -6.784, -12.849, -18.911, -22.834, -25.167, -24.063, -21.807, -17.935],
    [20.063, 7.473, -17.384, 19.053, 33.618, -18.191, -39.932, -1.941, 0.497, -42.01, -39.406, -3.538, -7.497],
]


def test_cepstra_are_those_that_the_networks_were_trained_on() -> None:
    t = np.arange(1600)
    tones = 8000 * np.sin(2 * np.pi * 220 * t / 16000) + 3000 * np.sin(2 * np.pi * 1900 * t / 16000) * (t > 800)
    cepstra = asd.mfcc(Pcm.from_array(np.round(tones) / 32768), 0, 8)
    assert cepstra[[0, 6]] == pytest.approx(np.array(_PSF), abs=2e-3)


def test_silence_and_time_outside_the_recording_have_finite_cepstra() -> None:
    assert np.isfinite(asd.mfcc(noise(2), -3200, 80)).all()


# Faces ----------------------------------------------------------------------------------------------------------------


def test_the_crop_is_the_lower_middle_of_the_face() -> None:
    assert crop_of([100, 50, 200, 150]) == pytest.approx([150, 120, 70])
    assert crop_of([100, 50, 180, 150]) == pytest.approx([140, 120, 70])  # the longer side counts


def crop_of(box: list[int]) -> np.ndarray:
    return asd_faces.crop_square(np.array([box], float))[0]


@pytest.mark.parametrize("side", [40, 300])
def test_a_crop_shows_what_the_square_holds_even_beyond_the_picture(side: int) -> None:
    grey = np.zeros((400, 400), np.uint8)
    grey[:, 200:] = 200
    half = asd_faces.cut(grey, np.array([199.5, 200.0, side]))
    assert half.shape == (112, 112)
    assert half[:, :52].max() == 0
    assert half[:, 60:].min() == 200
    assert asd_faces.cut(grey, np.array([399.0, 399.0, side]))[100:, 100:].min() == 200


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("asd") / "film.mp4"
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 15, 20, 3), np.uint8)
    frames = (np.kron(frame, np.ones((16, 16, 1), np.uint8)) for frame in coarse)
    encode_video(path, frames, Fraction(25), (320, 240))
    with av.open(str(path)) as container:
        return path, np.array(sorted(int(frame.pts) for frame in container.decode(video=0)))


def test_tracks_are_scored_where_they_are_seen(net: Network, film: tuple[Path, np.ndarray]) -> None:
    path, pts = film
    ticks = np.concatenate([np.arange(5, 30), np.arange(0, 12), np.arange(20, 40)])  # a track, and one with a gap
    track = np.repeat([3, 8], [25, 32])
    box = np.where((track == 3)[:, None], [40.0, 40, 120, 120], [180.0, 60, 280, 160])
    shuffled = np.random.default_rng(1).permutation(len(ticks))
    rows = {"track": track[shuffled], "tick": ticks[shuffled], "box_px": box[shuffled].astype(np.float32)}
    done: list[int] = []
    sound = noise(40)
    with VideoReader(path) as video:
        scores = asd_faces.score_tracks(video, pts, sound, rows, net, lambda d, total: done.append(total - d))
    assert done[-1] == 0
    assert np.flatnonzero(np.isfinite(scores[3])).tolist() == list(range(5, 30))
    assert np.flatnonzero(np.isfinite(scores[8])).tolist() == [*range(12), *range(20, 40)]
    with VideoReader(path) as video:
        grey = [asd_faces._grey(rgb) for _, rgb in video.frames(pts[5:30].tolist())]
    alone = np.stack([asd_faces.cut(g, crop_of([40, 40, 120, 120])) for g in grey])
    assert scores[3][5:30] == pytest.approx(asd.score(net, alone, sound, first_tick=5), abs=1e-4)


def test_sound_of_another_length_is_refused(net: Network, film: tuple[Path, np.ndarray]) -> None:
    rows = {"track": np.zeros(0, int), "tick": np.zeros(0, int), "box_px": np.zeros((0, 4))}
    with VideoReader(film[0]) as video, pytest.raises(ValueError, match="do not go with 40 ticks"):
        asd_faces.score_tracks(video, film[1], noise(30), rows, net)


def test_a_persons_scores_come_from_their_tracks() -> None:
    nan = np.nan
    scores = {0: np.array([1, nan, nan, nan]), 1: np.array([nan, nan, 2, nan]), 2: np.array([9.0, 9, 9, 9])}
    out = asd_faces.by_person({0: 1, 1: 1, 2: -1, 5: 0}, scores, 4)
    assert np.isnan(out[:, 0]).all()
    assert out[:, 1].tolist()[0::2] == [1.0, 2.0]
    assert np.isnan(out[[1, 3], 1]).all()
