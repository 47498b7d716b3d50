"""Maps of face crops through a video: what is looked at tick by tick, and what a stretch of a track says afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dialogbuild.faces import covered, hands, masks
from dialogbuild.faces.labels import FACE, pack_labels
from dialogbuild.faces.masks import Base

if TYPE_CHECKING:
    from dialogbuild.faces.mesh import PersonMasker
    from dialogbuild.faces.parsing import FaceParser

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Maps:
    """Of n rows: ``person_bits`` and ``part_bits`` (n,) object (see ``labels``), ``occluded`` (n,) float32, 0..1."""

    person_bits: Array
    part_bits: Array
    occluded: Array


class MaskMaker:
    """Looks at rows (a face at a tick) in the order of the video; ``finish`` gives their maps and forgets them.

    The person mask, and a parser's labels, are taken every ``every_ticks``; hands are looked for as often, and at every
    tick while there is one at the face. Per row that is not finished 3 kB are kept.

    Args:
        every_ticks: ticks between masks;  hands_every: ticks between looks for hands, 0 = never.
    """

    def __init__(self, stack: ExitStack, every_ticks: int, hands_every: int, parser: FaceParser | None = None) -> None:
        self._every, self._hands_every, self._parser = every_ticks, hands_every, parser
        self._finder = stack.enter_context(hands.HandFinder()) if hands_every else None
        self._latest: dict[int, Base] = {}
        self._hand_near: dict[int, bool] = {}
        self._base: dict[int, Base] = {}
        self._hands: dict[int, Array] = {}
        self._colours: dict[int, Array] = {}

    def look(
        self,
        row: int,
        track: int,
        tick: int,
        rgb: npt.NDArray[np.uint8],
        view: npt.NDArray[np.uint8],
        crop: Array,
        points_px: Array | None,
        masker: PersonMasker,
    ) -> None:
        """Take from a picture what the map of a row needs.

        Args:
            rgb: (H, W, 3) whole image;  view: (S, S, 3) the crop's pixels;  points_px: (478, 2), None = no mesh.
        """
        if track not in self._latest or tick % self._every == 0:
            self._latest[track] = self._base_of(view, crop, points_px, masker)
        self._base[row] = self._latest[track]
        if points_px is None:
            return
        self._colours[row] = covered.sample_points(view, points_px, crop)
        if self._finder and (tick % self._hands_every == 0 or self._hand_near.get(track, False)):
            found = self._finder(rgb, crop)
            at_face = hands.hand_cells(found, crop) & masks.oval_cells(points_px, crop)
            self._hand_near[track] = bool(at_face.any())
            if len(found):
                self._hands[row] = found

    def _base_of(self, view: npt.NDArray[np.uint8], crop: Array, points_px: Array | None, masker: PersonMasker) -> Base:
        person = masker(view)
        if self._parser is not None:
            labels = self._parser(view)
            return Base(labels, labels != 0, parsed=True)
        if points_px is None:
            return Base(np.where(person, np.uint8(FACE), np.uint8(0)), person)
        return masks.base_of(view, person, points_px, crop)

    def finish(
        self, rows: Array, box_px: Array, others_px: Sequence[Array], points_px: Array, crops: Array, ok: Array
    ) -> Maps:
        """The maps of a stretch of one track: points that are covered are told from what they look like through it.

        Args:
            rows: (n,) as they were looked at, in tick order.
            box_px: (n, 4);  others_px: n arrays (k, 4) of the other faces at the tick;  points_px: (n, 478, 2);
            crops: (n, 4).
            ok: (n,) bool, the landmarks are this face's; without them nothing is known to be in front.
        """
        n, good = len(rows), np.flatnonzero(ok)
        hidden = np.zeros((n, covered.N_POINTS), bool)
        if len(good):
            colours = np.stack([self._colours[int(rows[k])] for k in good])
            hidden[good] = covered.covered_points(points_px[good], colours)
        out = Maps(np.empty(n, object), np.empty(n, object), np.zeros(n, np.float32))
        for k, row in enumerate(rows.tolist()):
            base = self._base.pop(row)
            self._colours.pop(row, None)
            found = self._hands.pop(row, None)
            labels, person = base.labels, base.person
            if ok[k]:
                front = masks.nearer_face_cells(box_px[k], others_px[k], crops[k])
                front |= covered.covered_cells(points_px[k], hidden[k], crops[k])
                oval = masks.oval_cells(points_px[k], crops[k])
                if found is not None:
                    front |= at_face(hands_px=found, oval=oval, crop=crops[k])
                labels, person, out.occluded[k] = masks.compose(base, oval, front)
            out.person_bits[k], out.part_bits[k] = pack_labels(labels, person)
        return out


def at_face(hands_px: Array, oval: npt.NDArray[np.bool_], crop: Array) -> npt.NDArray[np.bool_]:
    """Cells (64, 64) of the hands that reach the outline, whole; a hand beside it is not in front of the face."""
    out = np.zeros_like(oval)
    for hand in hands_px:
        cells = hands.hand_cells(hand[None], crop)
        if (cells & oval).any():
            out |= cells
    return out
