"""``dialogbuild fit-flame VIDEO``: the head of every face in any single video, without the dialogue around it.

Ticks are those of the pipeline: 25 a second from the first frame's start, each with the source frame shown at its
centre. ``out`` receives

    motion.parquet   columns of the stage fit_flame plus ``face``; a row per face and tick in which its track runs
    quality.parquet  columns of the stage quality plus ``face``, regions in % of the face size, verdict, reason
    faces.npz        the same parameters for numpy (``write.npz_arrays``)
    overlay.mp4      frame | frame with heads (H.264, yuv420p), with the sound where there is any
    summary.json     per face and for the whole; written last: where it is, the rest is complete
    work/            artefacts of ingest, shots, tracks and landmarks: a second call does not compute them again
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dialogbuild.artifact import read_json, write_json
from dialogbuild.errors import ConfigError, Reject
from dialogbuild.fit.evidence import Evidence
from dialogbuild.fitvideo.measure import Fitted, fitted_face, measure
from dialogbuild.fitvideo.of_run import clip_material
from dialogbuild.fitvideo.prepare import (
    STAGES,
    Face,
    Material,
    StageFailed,
    Unsuitable,
    bar,
    load_material,
    run_per_video,
)
from dialogbuild.fitvideo.seam import METHOD, VERSION, Settings, fit_faces
from dialogbuild.fitvideo.write import (
    MOTION,
    NPZ,
    OVERLAY,
    QUALITY,
    SUMMARY,
    face_record,
    lines,
    npz_arrays,
    write_tables,
)
from dialogbuild.head import load_head
from dialogbuild.head.model import HeadModel
from dialogbuild.media.clock import FPS
from dialogbuild.recipe import Recipe, load_recipe
from dialogbuild.tables import Columns

__all__ = ["StageFailed", "Unsuitable", "fit_video", "lines", "pick_device"]

_DEFAULTS: dict[str, dict[str, Any]] = {"ingest": {"require_audio": False, "min_duration_s": 1.0}}
_NO_MASKS = (
    "no FLAME_masks.pkl beside the model: no gaze, jitter_mm is of the whole head, and the overlay shows all of it"
)
_ON_CPU = "there is a GPU, but the tracker does not use it yet: the fit ran on the CPU"
_ACROSS_CUTS = "faces are not followed across cuts or long gaps: one person may be several faces"


def pick_device(name: str) -> str:
    """``cpu`` or ``cuda`` from ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: no such device here.
    """
    if name == "cpu":
        return name
    if name not in ("auto", "cuda"):
        raise ConfigError(f"--device is auto, cpu or cuda, not {name!r}")
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise ConfigError("--device cuda: torch finds no CUDA device here; use --device cpu, or auto")
    return "cpu"


def fit_video(
    source: Path,
    out: Path,
    head: str | None = None,
    device: str = "auto",
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    max_seconds: float | None = None,
    overlay: bool = True,
    quiet: bool | None = None,
    run: Path = Path("out"),
) -> dict[str, Any]:
    """Fit every face that is seen for a second or longer, and write everything to ``out``.

    Args:
        source: a video file; or, when there is no such file, the id of a clip of the run in ``run``: then its two
            persons are fitted over its ticks, with the run's settings.
        head: ``procedural-v1`` (the default) or the path of a FLAME file.
        device: ``auto``, ``cpu`` or ``cuda``; the fit runs on the CPU whatever it says, and the summary says so.
        changes: stage name to settings, over the defaults; of any stage up to ``gate``.
        max_seconds: only the beginning of the video.
        quiet: no progress bars; None = none unless standard error is a terminal.

    Returns:
        What ``summary.json`` holds.

    Raises:
        ConfigError: a wrong argument, setting or head.
        Unsuitable: the video cannot be used; the message says why.
        StageFailed, Stopped, DialogbuildError: as in a run of the pipeline.
    """
    if device != "auto":
        pick_device(device)  # a wrong one is told before the long work; the right one need not load torch yet
    if source.is_file():
        recipe = _recipe(changes, head, max_seconds)
        model, remarks = _load_head(recipe)
        per_video = Recipe(recipe.name, recipe.stages[: len(STAGES)], {name: recipe.configs[name] for name in STAGES})
        assert tuple(stage.name for stage in per_video.stages) == STAGES
        material = load_material(source, run_per_video(per_video, source, out / "work", quiet))
    elif max_seconds is not None:
        raise ConfigError("--max-seconds is for videos; a clip of a run is fitted whole")
    else:
        material, recipe = clip_material(run, str(source), head, changes or {})
        model, remarks = _load_head(recipe)
    key = _key(material, recipe, model)
    before = read_json(out / SUMMARY, {})
    complete = before.get("key") == key and all((out / name).is_file() for name in before["files"])
    if complete and (OVERLAY in before["files"] or not overlay):
        return dict(before)
    for name in (SUMMARY, OVERLAY):
        (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    chosen = pick_device(device)
    fitted, quality, notes = _fit(material, recipe, model, chosen, quiet)
    if chosen != "cpu":
        notes = [*notes, _ON_CPU]
    files = _write(out, material, model, fitted, quality, overlay, quiet)
    summary = {
        "key": key,
        "video": _video_record(material),
        "head": {"model_id": model.model_id, "sha256": model.sha256, "licence": model.licence},
        "method": METHOD,
        "device": "cpu",
        "faces": [face_record(f, q) for f, q in zip(fitted, quality, strict=True)],
        "notes": remarks + notes,
        "files": files,
    }
    write_json(out / SUMMARY, summary)
    return summary


def _write(
    out: Path,
    material: Material,
    head: HeadModel,
    fitted: Sequence[Fitted],
    quality: Sequence[Columns],
    overlay: bool,
    quiet: bool | None,
) -> list[str]:
    write_tables(out, fitted, quality)
    np.savez_compressed(out / NPZ, **npz_arrays(head, fitted, material.video["sha256"]))
    if not overlay:
        return [MOTION, QUALITY, NPZ]
    from dialogbuild.fitvideo.overlay import write_overlay

    with _watch("overlay", material.end_tick - material.start_tick, quiet) as progress:
        write_overlay(out / OVERLAY, material, head, fitted, quality, progress.in_part())
    return [MOTION, QUALITY, NPZ, OVERLAY]


def _load_head(recipe: Recipe) -> tuple[HeadModel, list[str]]:
    """The head of the recipe, and what it lacks.

    Raises:
        ConfigError: it cannot be fitted to landmarks.
    """
    head = load_head(recipe.configs["identity"].head)  # type: ignore[attr-defined]
    if not {"mediapipe", "mp478"} & set(head.landmarks):
        raise ConfigError(
            f"{head.model_id} does not say where the landmarks are: put mediapipe_landmark_embedding.npz "
            "(from the FLAME site) beside the model file"
        )
    if "face" in head.masks:
        return head, []
    everywhere = np.arange(head.n_vertices, dtype=np.int32)
    return replace(head, masks={**head.masks, "face": everywhere}), [_NO_MASKS]


def _recipe(changes: Mapping[str, Mapping[str, Any]] | None, head: str | None, max_seconds: float | None) -> Recipe:
    tables = {stage: dict(table) for stage, table in (changes or {}).items()}
    tables["ingest"] = _DEFAULTS["ingest"] | tables.get("ingest", {})
    if max_seconds is not None:
        tables["ingest"]["max_duration_s"] = max_seconds
    return load_recipe("demo", changes=tables, head=head)


def _key(material: Material, recipe: Recipe, head: HeadModel) -> str:
    """Equal when nothing that could change the files has changed."""
    configs = {name: recipe.configs[name].canonical() for name in ("identity", "fit_flame", "quality", "gate")}
    made_of = {"inputs": material.keys, "configs": configs, "head": head.sha256, "method": [METHOD, VERSION]}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:20]


def _seen_enough(material: Material, needed: int) -> tuple[list[Face], list[Evidence], list[str]]:
    """The faces with enough landmarks, numbered anew, their measurements, and remarks for the reader."""
    evidence = [material.evidence(face) for face in material.faces]
    count = [int(e.usable.sum()) for e in evidence]
    if max(count) < needed:
        raise Unsuitable(material.source.name, Reject("too_few_keyframes", usable=max(count), needed=needed))
    kept = [k for k, n in enumerate(count) if n >= needed]
    faces = [replace(material.faces[k], face=i) for i, k in enumerate(kept)]
    notes = [
        f"a face at {face.start_tick / float(FPS):.1f} s is left out: {n} frames with landmarks, {needed} are needed"
        for face, n in zip(material.faces, count, strict=True)
        if n < needed
    ]
    if any(a.end_tick <= b.start_tick for a in faces for b in faces):
        notes.append(_ACROSS_CUTS)
    return faces, [evidence[k] for k in kept], notes


def _fit(
    material: Material, recipe: Recipe, head: HeadModel, device: str, quiet: bool | None
) -> tuple[list[Fitted], list[Columns], list[str]]:
    """Fit, then measure, shot by shot: one focal length each."""
    configs: Any = recipe.configs
    settings = Settings(configs["identity"], configs["fit_flame"])
    faces, evidence, notes = _seen_enough(material, settings.identity.min_keyframes)
    shots = [[k for k, face in enumerate(faces) if face.shot == shot] for shot in sorted({f.shot for f in faces})]
    fitted: list[Fitted] = []
    with _watch("fit", sum(face.end_tick - face.start_tick for face in faces), quiet) as progress:
        for group in shots:
            first = [faces[k].start_tick for k in group]
            people = [evidence[k] for k in group]
            views = [material.view(e) for e in people]
            fits = fit_faces(
                head, people, views, first, material.frames, material.size_px, device, progress.in_part(), settings
            )
            for k, fit, view in zip(group, fits, views, strict=True):
                shot = material.shots[faces[k].shot]
                columns = fitted_face(faces[k], fit, evidence[k], view, material.ticks, shot)
                fitted.append(columns)
    return fitted, _measure(material, head, [[fitted[k] for k in group] for group in shots], configs, quiet), notes


def _measure(
    material: Material, head: HeadModel, shots: Sequence[Sequence[Fitted]], configs: Any, quiet: bool | None
) -> list[Columns]:
    every = configs["quality"].pixels_every_ticks
    spans = [(min(f.face.start_tick for f in faces), max(f.face.end_tick for f in faces)) for faces in shots]
    out: list[Columns] = []
    with _watch("quality", sum(b - a for a, b in spans), quiet) as progress:
        for faces, (start, stop) in zip(shots, spans, strict=True):
            step, part = progress.in_part(), stop - start

            def frames(step: Any = step, start: int = start, stop: int = stop) -> Iterator[tuple[int, Any]]:
                for tick, rgb in material.frames(start, stop, every):
                    yield tick, rgb
                    step(min(tick + every, stop) - start, stop - start)

            out += measure(head, faces, frames(), configs["quality"], configs["gate"])
            step(part, part)
    return out


class _Parts:
    """A bar over several parts, each of which counts its own (done, total) from 0."""

    def __init__(self, shown: tqdm[Any]) -> None:
        self._bar = shown

    def in_part(self) -> Callable[[int, int], None]:
        """The progress callback of the next part."""
        before = self._bar.n

        def progress(done: int, total: int) -> None:
            del total
            self._bar.update(before + done - self._bar.n)

        return progress


@contextmanager
def _watch(name: str, total: int, quiet: bool | None) -> Iterator[_Parts]:
    with bar(name, total, quiet) as shown:
        yield _Parts(shown)


def _video_record(material: Material) -> dict[str, Any]:
    video = material.video
    return {
        "name": video["name"],
        "sha256": video["sha256"],
        "start_s": round(material.start_tick / float(FPS), 3),
        "seconds": round((material.end_tick - material.start_tick) / float(FPS), 3),
        "frames": material.end_tick - material.start_tick,
        "fps": float(FPS),
        "source_fps": video["avg_fps"],
        "width_px": video["width_px"],
        "height_px": video["height_px"],
        "shots": len(material.shots),
        "sound": video["audio"] is not None,
    }
