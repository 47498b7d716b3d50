"""landmarks: 478 points with irises, and a map of what each crop shows, for every tick of every track.

reads   ingest  ticks.parquet, video.json
        tracks  tracks.parquet     track, tick, box_px, occluded
writes  landmarks.parquet          same rows: track, tick, lmk_px (478 x 2, px of the source frame), lmk_z_px (478),
                                   presence (overlap of the landmarks' box with the tracked box, 0..1), ok,
                                   spread_px (disagreement of the mesh with itself in a mirror; 0 when not mirrored),
                                   crop_px (cx, cy, side, roll), mask_bits and mask_parts (64 x 64 cells over the crop:
                                   face, hair, clothes, in front; ``faces.labels``), occluded (share of the face's
                                   outline that something is in front of, 0..1); with a second opinion disagree
                                   (fraction of the outer-eye distance, -1 where none was asked for)
rejects no_landmarks (boxes, but no face mesh in any of them)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject
from dialogbuild.media.chosen import open_video
from dialogbuild.tables import Columns, join_tables, read_table, write_table

if TYPE_CHECKING:
    from dialogbuild.faces.maskmaker import MaskMaker
    from dialogbuild.faces.mesh import Mesh
    from dialogbuild.faces.second_opinion import SecondOpinion

N_LANDMARKS = 478
_STRETCH_ROWS = 1500  # a minute: long enough to know a face's colours, 150 MB while its maps are made


class Config(StageConfig):
    """How the crop is cut, and when landmarks count."""

    crop_scale: float = Field(1.9, gt=1, description="crop side over the box's longer side; shows hair and chin")
    smooth_ticks: float = Field(3.0, ge=0, description="ticks (sigma) by which boxes are smoothed before cropping")
    min_presence: float = Field(0.3, ge=0, lt=1, description="overlap with the tracked box; less is another face")
    mirrored: bool = Field(True, description="also look in a mirror and average: cancels the mesh's left-right bias")
    mask_every_ticks: int = Field(5, ge=1, description="ticks between person masks; shoulders and hair move slowly")
    hands_every_ticks: int = Field(
        5,
        ge=0,
        description="ticks between looks for hands, which go on at every tick while one is at the face; 0 = never",
    )
    parsing_weights: str | None = Field(
        None, description="ONNX network of 19 CelebAMask-HQ classes, 512 x 512, that labels the crops; none = colours"
    )
    second_opinion: Literal["none", "face_alignment"] = Field(
        "none", description="another detector, whose distance from the mesh becomes a quality number"
    )
    second_opinion_weights: str | None = Field(
        None, description="face_alignment: a local file with the weights of 2DFAN; nothing is downloaded"
    )
    second_opinion_every: int = Field(
        5, ge=1, description="ticks between second opinions; each takes most of a second on one core"
    )

    @model_validator(mode="after")
    def _has_the_weights_that_it_needs(self) -> Config:
        if self.second_opinion != "none" and not self.second_opinion_weights:
            raise ValueError(f"second_opinion = '{self.second_opinion}' needs second_opinion_weights")
        return self


def smooth_boxes(boxes_px: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """One track's boxes, smoothed over time, so that the crop does not shake. (T, 4) px -> (T, 4)."""
    from scipy.ndimage import gaussian_filter1d

    if sigma == 0 or len(boxes_px) < 2:
        return boxes_px
    return np.asarray(gaussian_filter1d(boxes_px, sigma, axis=0, mode="nearest"), np.float32)


def presence(points_px: npt.NDArray[np.float32], box_px: npt.NDArray[np.float32]) -> float:
    """Overlap (intersection over union) of the landmarks' bounding box with the tracked box. (478, 2), (4,) -> 0..1."""
    from dialogbuild.faces.detect import iou

    hull = np.concatenate([points_px.min(0), points_px.max(0)])
    return float(iou(hull[None], box_px[None].astype(np.float32))[0, 0])


class _Faces:
    """One mesher and one masker per track that is on screen, reused by later tracks."""

    def __init__(self, stack: ExitStack, mirrored: bool) -> None:
        self._stack, self._mirrored = stack, mirrored
        self._free: list[tuple[Any, Any]] = []
        self._busy: dict[int, tuple[Any, Any]] = {}

    def of(self, track: int) -> tuple[Any, Any]:
        from dialogbuild.faces.mesh import FaceMesher, PersonMasker

        if track not in self._busy:
            if self._free:
                pair = self._free.pop()
                pair[0].reset()
                pair[1].reset()
            else:
                pair = (
                    self._stack.enter_context(FaceMesher(mirrored=self._mirrored)),
                    self._stack.enter_context(PersonMasker()),
                )
            self._busy[track] = pair
        return self._busy[track]

    def release_except(self, tracks: set[int]) -> None:
        for track in [t for t in self._busy if t not in tracks]:
            self._free.append(self._busy.pop(track))


@dataclass(frozen=True, eq=False)
class _Row:
    """What one row gave: the mesh, if any, the crop, and how far a second opinion is off (-1 = not asked)."""

    row: int
    mesh: Mesh | None
    crop: npt.NDArray[np.float32]
    disagree: float


def measure(
    inputs: Inputs, rows: Columns, at: Mapping[int, list[int]], config: Config, maker: MaskMaker, stack: ExitStack
) -> Iterator[_Row]:
    """Run the mesh over all rows in one pass over the video, and show ``maker`` what it needs."""
    from dialogbuild.faces.mesh import cut, square_crop

    smooth = np.empty_like(rows["box_px"])
    for track in np.unique(rows["track"]):
        mine = rows["track"] == track
        smooth[mine] = smooth_boxes(rows["box_px"][mine], config.smooth_ticks)
    ticks = np.array(sorted(at), np.int32)
    pts = read_table(inputs["ingest"] / "ticks.parquet")["pts"]
    video = stack.enter_context(open_video(inputs.source, inputs["ingest"]))
    faces, second = _Faces(stack, config.mirrored), _second_opinion(config)
    for done, (_, rgb) in enumerate(video.frames(pts[ticks].tolist())):
        tick = int(ticks[done])
        faces.release_except({int(rows["track"][row]) for row in at[tick]})
        for row in at[tick]:
            track = int(rows["track"][row])
            mesher, masker = faces.of(track)
            crop = square_crop(smooth[row], config.crop_scale)
            view = cut(rgb, crop)
            mesh = mesher.in_view(view, crop)
            maker.look(row, track, tick, rgb, view, crop, None if mesh is None else mesh.points_px, masker)
            asked = second is not None and mesh is not None and tick % config.second_opinion_every == 0
            disagree = _disagreement(second, rgb, smooth[row], mesh) if asked else -1.0
            yield _Row(row, mesh, crop, disagree)
        inputs.progress(done + 1, len(ticks))


def _maker(config: Config, stack: ExitStack) -> MaskMaker:
    from dialogbuild.faces.maskmaker import MaskMaker

    parser = None
    if config.parsing_weights:
        from dialogbuild.faces.parsing import FaceParser

        parser = FaceParser(config.parsing_weights)
    return MaskMaker(stack, config.mask_every_ticks, config.hands_every_ticks, parser)


def _second_opinion(config: Config) -> SecondOpinion | None:
    if config.second_opinion == "none":
        return None
    from dialogbuild.faces.second_opinion import SecondOpinion

    return SecondOpinion(Path(config.second_opinion_weights or ""))


def _disagreement(second: Any, rgb: npt.NDArray[np.uint8], box_px: npt.NDArray[np.float32], mesh: Any) -> float:
    from dialogbuild.faces.second_opinion import disagreement

    points_px = second(rgb, box_px)
    return -1.0 if points_px is None else float(disagreement(mesh.points_px, points_px))


class _Stretch:
    """Consecutive rows of one track, until all of them are measured: their maps need to be made together."""

    def __init__(self, rows: npt.NDArray[np.int64]) -> None:
        n = len(rows)
        self.rows, self._measured = rows, 0
        self._lmk_px = np.zeros((n, N_LANDMARKS, 2), np.float32)
        self._lmk_z_px = np.zeros((n, N_LANDMARKS), np.float32)
        self._crops = np.zeros((n, 4), np.float32)
        self._overlap, self._spread = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self._disagree = np.full(n, -1, np.float32)

    def put(self, found: _Row, box_px: npt.NDArray[np.float32]) -> bool:
        """Note one row; True when it was the last."""
        at, mesh = found.row - int(self.rows[0]), found.mesh
        self._crops[at], self._disagree[at] = found.crop, found.disagree
        if mesh is not None:
            self._lmk_px[at], self._lmk_z_px[at] = mesh.points_px, mesh.z_px
            self._spread[at] = mesh.spread_px
            self._overlap[at] = presence(mesh.points_px, box_px)
        self._measured += 1
        return self._measured == len(self.rows)

    def columns(self, rows: Columns, at: Mapping[int, list[int]], maker: MaskMaker, config: Config) -> Columns:
        """The finished columns of these rows."""
        n, mine = len(self.rows), self.rows
        ok = (self._overlap >= config.min_presence) & ~rows["occluded"][mine]
        self._lmk_px[~ok], self._lmk_z_px[~ok], self._disagree[~ok] = 0, 0, -1
        boxes = rows["box_px"]
        others = [boxes[[k for k in at[int(rows["tick"][row])] if k != row]] for row in mine]
        maps = maker.finish(mine, boxes[mine], others, self._lmk_px, self._crops, ok)
        return {
            "track": rows["track"][mine],
            "tick": rows["tick"][mine],
            "lmk_px": self._lmk_px.reshape(n, -1),
            "lmk_z_px": self._lmk_z_px,
            "presence": self._overlap,
            "ok": ok,
            "spread_px": self._spread,
            "crop_px": self._crops,
            "mask_bits": maps.person_bits,
            "mask_parts": maps.part_bits,
            "occluded": maps.occluded,
            **({} if config.second_opinion == "none" else {"disagree": self._disagree}),
        }


def stretches(track: npt.NDArray[np.int32], longest: int = _STRETCH_ROWS) -> list[npt.NDArray[np.int64]]:
    """Rows (N,) of tables sorted by track, as consecutive stretches of one track each, of like length."""
    edges = np.flatnonzero(np.diff(track)) + 1
    whole = np.split(np.arange(len(track)), edges)
    return [part for rows in whole for part in np.array_split(rows, -(-len(rows) // longest))]


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Measure every tick of every track; rows without a face keep ``ok`` False and zeros.

    What is measured goes to disk stretch by stretch, so that memory does not grow with the video.
    """
    rows = read_table(inputs["tracks"] / "tracks.parquet", ["track", "tick", "box_px", "occluded"])
    parts = stretches(rows["track"])
    part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    at = rows_by_tick(rows["tick"])
    begun: dict[int, _Stretch] = {}
    good = 0
    with ExitStack() as stack, TemporaryDirectory(dir=out) as spool:
        maker = _maker(config, stack)
        for found in measure(inputs, rows, at, config, maker, stack):
            number = int(part_of[found.row])
            if number not in begun:
                begun[number] = _Stretch(parts[number])
            if begun[number].put(found, rows["box_px"][found.row]):
                columns = begun.pop(number).columns(rows, at, maker, config)
                good += int(columns["ok"].sum())
                write_table(Path(spool) / str(number), columns)
        if not good:
            raise Reject("no_landmarks", boxes=len(rows["track"]))
        join_tables(out / "landmarks.parquet", (Path(spool) / str(number) for number in range(len(parts))))


def rows_by_tick(tick: npt.NDArray[np.int32]) -> dict[int, list[int]]:
    """Tick -> the rows of all faces in it."""
    at: dict[int, list[int]] = defaultdict(list)
    for row, one in enumerate(tick.tolist()):
        at[one].append(row)
    return dict(at)


def model_files(config: Config) -> list[Path]:
    """The networks of the mesh, the person mask, hands, and of a second opinion and a parser where asked for."""
    from dialogbuild.faces.mp import model_files as networks
    from dialogbuild.faces.onnx import existing
    from dialogbuild.faces.second_opinion import weights_file

    hands = ("palm_detection", "hand_landmark") if config.hands_every_ticks else ()
    files = networks("face_detection", "face_landmark", "selfie_segmentation", *hands)
    if config.parsing_weights:
        files.append(existing(config.parsing_weights))
    return files if config.second_opinion == "none" else [*files, weights_file(config.second_opinion_weights)]


STAGE = Stage(
    name="landmarks", version=3, unit="video", config=Config, run=run, reads=("ingest", "tracks"), models=model_files
)
