"""Verbs that are a tool for single videos, and with a folder the pipeline's stage of the same name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dialogbuild.cli_options import Head, Quiet, Setting, Trust, Workers
from dialogbuild.errors import ConfigError

RunStage = Callable[..., None]

_FIT_FLAME = """Fit FLAME to every face of one video: parameters, quality per frame, an overlay to look at.

Every face that is seen for a second or longer is fitted; sound is not needed. OUT receives

\b
motion.parquet   parameters with sigmas, a row per face and tick (25 a second)
quality.parquet  per face and tick: reprojection px and % by region, visible, verdict, reason
faces.npz        the same parameters for numpy, in FLAME's order: root, neck, jaw, left eye, right eye
overlay.mp4      the frame beside the frame with heads, with sound
summary.json     per face and for the whole
work/            faces and landmarks: a second call starts from them

Exit status: 0 done, 1 the video is unsuitable (no face, no picture, damaged) or a machine fault, 2 a wrong argument,
3 a stage failed and its traceback is kept in OUT/work.

CLIP, a clip id instead of a file, fits that clip of the run in --run: its two persons, from the faces and landmarks
that are there, with the run's settings, or another head.

With a folder, or with --recipe, the pipeline's stage of this name runs instead, as with every other stage verb:

{summary}

\b
{body}

What the stage needs is run first; `dialogbuild settings fit-flame` lists what can be set."""

_DIARIZE = """Who speaks when: turns of the two people of a video, by sound and lips together.

OUT receives for every NAME

\b
NAME.rttm            turns of person_0 (left), person_1 (right), offscreen; overlap kept; seconds from the first frame
NAME.exclusive.rttm  the same without overlap;  NAME.uem  the span that was looked at
NAME.states.parquet  per tick of 1/25 s: state, posteriors, who is seen
NAME.turns.parquet   turns and backchannels with gaps and confidence
NAME.assign.json     whose voice is whose and how sure, offset of the sound, figures that need no truth
NAME_person_0.wav    each person's sound, 16 kHz, 640 samples per tick; NAME_person_1.wav has the same length
work/                a second call starts from here

Where faces cannot tell (a sound file, one face, nobody in view) NAME.rttm holds voice_0 and voice_1 instead, and the
reason is said. Exit status: 0 done, 1 a recording is unsuitable or failed, 2 a wrong argument.

With a folder, or with --recipe, the pipeline's stage of this name runs instead, as with every other stage verb:

{summary}

\b
{body}

What the stage needs is run first; `dialogbuild settings diarize` lists what can be set."""


def _fit_flame_verb(run_stage: RunStage) -> Callable[..., None]:
    def command(
        src: Annotated[
            str,
            typer.Argument(metavar="VIDEO|CLIP|FOLDER", help="A video; a clip id of a run; or a folder of videos."),
        ],
        out: Annotated[
            Path | None, typer.Option(help="Where the result goes. Default: NAME_flame here; for a folder: out.")
        ] = None,
        head: Head = None,
        device: Annotated[str, typer.Option(help="auto, cpu or cuda; auto takes cuda where there is one.")] = "auto",
        max_seconds: Annotated[float | None, typer.Option(min=1.0, help="Only the beginning of the video.")] = None,
        no_overlay: Annotated[bool, typer.Option("--no-overlay", help="Leave out overlay.mp4.")] = False,
        run_folder: Annotated[Path, typer.Option("--run", help="CLIP: --out of the run that made it.")] = Path("out"),
        recipe: Annotated[
            str | None, typer.Option(help="Run the pipeline's stage instead, with the settings of this recipe.")
        ] = None,
        workers: Workers = 0,
        settings: Setting = None,
        quiet: Quiet = False,
        trust_versions: Trust = False,
    ) -> None:
        path = Path(src)
        if path.is_dir() or (path.is_file() and recipe is not None):
            where = out or Path("out")
            run_stage("fit_flame", path, where, recipe or "demo", head, workers, settings, quiet, trust_versions)
            return
        from dialogbuild import fitvideo
        from dialogbuild.recipe import override

        started = time.perf_counter()
        where = out or Path(f"{path.stem}_flame")
        try:
            summary = fitvideo.fit_video(
                path,
                where,
                head,
                device,
                override(settings or ()),
                max_seconds,
                not no_overlay,
                quiet or None,
                run_folder,
            )
        except fitvideo.StageFailed as error:
            typer.echo(str(error))
            raise typer.Exit(3) from None
        typer.echo("\n".join(fitvideo.lines(summary)))
        typer.echo(
            f"{time.perf_counter() - started:.1f} s; {', '.join([*summary['files'], 'summary.json'])} in {where}"
        )

    return command


def _diarize_verb(run_stage: RunStage) -> Callable[..., None]:
    def command(
        src: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Videos, sound files, or one folder.")],
        out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("out"),
        backend: Annotated[
            str, typer.Option(help="auto, offline, pyannote or rttm; auto is pyannote where --pyannote-path is given.")
        ] = "auto",
        pyannote_path: Annotated[Path | None, typer.Option(help="Folder of a pyannote pipeline.")] = None,
        pyannote_python: Annotated[
            Path | None, typer.Option(help="Interpreter of another environment, for pyannote.audio 4.")
        ] = None,
        rttm_dir: Annotated[Path | None, typer.Option(help="Folder with NAME.rttm, or one file.")] = None,
        asd_weights: Annotated[Path | None, typer.Option(help="Weights of Light-ASD or LR-ASD.")] = None,
        max_speakers: Annotated[int, typer.Option(min=1, help="For pyannote.")] = 2,
        recipe: Annotated[
            str | None, typer.Option(help="Run the pipeline's stage instead, with the settings of this recipe.")
        ] = None,
        workers: Workers = 0,
        settings: Setting = None,
        quiet: Quiet = False,
        trust_versions: Trust = False,
    ) -> None:
        if recipe is not None or src[0].is_dir():
            if len(src) > 1:
                raise ConfigError("one folder at a time")
            run_stage("diarize", src[0], out, recipe or "demo", None, workers, settings, quiet, trust_versions)
            return
        from dialogbuild import diarizevideo
        from dialogbuild.recipe import override

        chosen = ("pyannote" if pyannote_path else "rttm" if rttm_dir else "offline") if backend == "auto" else backend
        named = {"pyannote_path": pyannote_path, "pyannote_python": pyannote_python, "rttm_dir": rttm_dir}
        heard = {key: str(path) for key, path in named.items() if path is not None}
        if chosen == "pyannote":
            heard["max_speakers"] = max_speakers  # type: ignore[assignment]
        given = override(settings or ())
        chosen_settings = {**given, "diarize": {"backend": chosen, **heard, **given.get("diarize", {})}}
        if asd_weights is not None:
            chosen_settings["assign"] = {"asd_weights": str(asd_weights), **given.get("assign", {})}
        accounts = diarizevideo.diarize_videos(src, out, chosen_settings, workers, quiet or None)
        typer.echo("\n".join(diarizevideo.lines(accounts)))
        typer.echo(f"in {out}: {', '.join(name for account in accounts for name in account.files) or 'nothing'}")
        if any(account.status == "failed" for account in accounts):
            raise typer.Exit(1)

    return command


VERBS: dict[str, tuple[Callable[[RunStage], Callable[..., None]], str, str]] = {
    "fit_flame": (_fit_flame_verb, _FIT_FLAME, "FLAME on one video; or the pipeline's stage."),
    "diarize": (_diarize_verb, _DIARIZE, "Who speaks when in videos; or the pipeline's stage."),
}


def add_verb(app: typer.Typer, name: str, summary: str, body: str, run_stage: RunStage) -> None:
    """Add the verb of a stage; its help holds the stage's own after the tool's."""
    make, text, short = VERBS[name]
    command = make(run_stage)
    command.__doc__ = text.format(summary=summary, body=body.replace("\n\n", "\n\n\b\n"))
    app.command(name.replace("_", "-"), rich_help_panel="Stages", short_help=short)(command)
