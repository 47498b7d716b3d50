"""The command line: ``dialogbuild run``, one verb per stage, and the tools around them."""

from __future__ import annotations

import ast
import errno
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dialogbuild import cli_video, dataset_cli, export_cli, models_cli
from dialogbuild.cli_options import Head, Out, Quiet, Setting, Src, Trust, Workers
from dialogbuild.errors import ConfigError, DialogbuildError, Stopped
from dialogbuild.stages import ORDER

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turns videos of two people talking into aligned 2D-3D training data: who speaks, where each face is, and a "
    "3D head per frame, with the certainty of every number.\n\n"
    "Start with: dialogbuild demo. Then: dialogbuild run mango_dialog videos/ --out out/.",
)


def _say(text: str = "") -> None:
    typer.echo(text)


def _recipe(name: str, settings: list[str] | None, head: str | None = None, stages: tuple[str, ...] = ORDER) -> Any:
    from dialogbuild.recipe import load_recipe, override

    return load_recipe(name, stages, override(settings or ()), head)


def _print_outcome(finished: Any, seconds: float) -> None:
    from dialogbuild.ledger import summary

    _say("\n".join(summary(finished.entries)))
    if finished.ignored:
        _say(f"left out, no media: {', '.join(path.name for path in finished.ignored[:8])}")
    _say(f"{finished.computed} jobs ran, the rest was there already; {seconds:.1f} s")


@app.command(short_help="Videos in, dataset and report out.")
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (demo, mango_dialog, …) or a path to a .toml file.")],
    src: Src,
    out: Out = Path("out"),
    head: Head = None,
    workers: Workers = 0,
    share: Annotated[
        str, typer.Option("--shard", help="Take only part INDEX/COUNT of the sources, such as 3/16.")
    ] = "",
    settings: Setting = None,
    quiet: Quiet = False,
    trust_versions: Trust = False,
) -> None:
    """Take videos through every stage to a dataset and a report.

    Stops and resumes anywhere: the same command goes on where it was killed, and recomputes only what a change of the
    sources, the recipe, a model file or the code really touches. Unsuitable videos are rejected with a reason, failures
    are quarantined with their traceback and tried again next time; neither stops the others.

    Exit status: 0 done (rejects included), 3 something is quarantined, 2 a wrong argument or recipe, 1 a machine fault.
    """
    from dialogbuild.pipeline import Places, Share, finish, run_stages

    started = _clock()
    places = Places(out)
    part = Share.parse(share)
    chosen = _recipe(recipe, settings, head)
    finished = run_stages(chosen, src, places, workers, part, quiet or None, trust_versions)
    if part.count == 1:
        published = finish(places, finished, src)
        _print_outcome(finished, _clock() - started)
        _say(f"dataset   {places.dataset}  commit {published.commit}: {published.clips} clips, {published.hours:.3f} h")
        _say(f"manifest  {places.dataset / 'manifests' / 'train.jsonl'}")
        for clip in published.withheld:
            _say(f"left out  {clip}: it was taken down")
        for clip, (before, now) in sorted(published.moved.items()):
            _say(f"moved     {clip} from {before} to {now}: new clips share a person or a source with it")
        _say(f"report    {places.report}")
    else:
        _print_outcome(finished, _clock() - started)
        _say("this was one share: run the same command without --shard at the end to publish")
    _leave(finished)


def _clock() -> float:
    import time

    return time.monotonic()


def _leave(finished: Any) -> None:
    failed = finished.quarantined()
    for row in failed[:5]:
        _say(f"quarantined: {row.item} at {row.stage}: {row.reason}")
    if failed:
        _say(f"{len(failed)} items are quarantined; their tracebacks are in work/_quarantine; run again to retry them")
        raise typer.Exit(3)


def _short(sentence: str, width: int = 60) -> str:
    """The sentence up to the last clause that fits a terminal's line."""
    ends = [i for stop in (". ", "; ", ", ", " and ") for i in range(len(sentence)) if sentence.startswith(stop, i)]
    fitting = [i for i in [*ends, len(sentence.rstrip("."))] if i <= width]
    return sentence[: max(fitting, default=width)] + "."


def _stage_doc(name: str) -> tuple[str, str]:
    """Title and body of a stage's docstring, without importing it."""
    doc = ast.get_docstring(ast.parse((Path(__file__).parent / "stages" / f"{name}.py").read_text())) or name
    title, _, body = doc.partition("\n")
    title = title.split(": ", 1)[-1]
    return title[0].upper() + title[1:], body.strip()


def _run_stage(
    name: str,
    src: Path,
    out: Path,
    recipe: str,
    head: str | None,
    workers: int,
    settings: list[str] | None,
    quiet: bool,
    trust_versions: bool,
) -> None:
    from dialogbuild.pipeline import Places, run_stages
    from dialogbuild.stages import upstream_of

    started = _clock()
    loaded = _recipe(recipe, settings, head, upstream_of(name))
    finished = run_stages(loaded, src, Places(out), workers, quiet=quiet or None, trust_versions=trust_versions)
    _print_outcome(finished, _clock() - started)
    for row in finished.entries:
        if row.stage == name and row.status == "ok":
            _say(f"{row.item}  {row.path}")
    _leave(finished)


def _stage_verb(name: str) -> None:
    summary, body = _stage_doc(name)
    verb = name.replace("_", "-")

    def command(
        src: Src,
        out: Out = Path("out"),
        recipe: Annotated[str, typer.Option(help="Where the settings come from.")] = "demo",
        head: Head = None,
        workers: Workers = 0,
        settings: Setting = None,
        quiet: Quiet = False,
        trust_versions: Trust = False,
    ) -> None:
        _run_stage(name, src, out, recipe, head, workers, settings, quiet, trust_versions)

    kept = body.replace("\n\n", "\n\n\b\n")  # every paragraph keeps its lines: tables of columns are among them
    command.__doc__ = (
        f"{summary}\n\n\b\n{kept}\n\nWhat the stage needs is run first; `dialogbuild settings {verb}` "
        "lists what can be set."
    )
    app.command(verb, rich_help_panel="Stages", short_help=_short(summary))(command)


@app.command(short_help="The built-in synthetic dialogue, through every stage.")
def demo(
    out: Out = Path("out/demo"),
    seconds: Annotated[float, typer.Option(help="Length of the dialogue.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Which dialogue: faces, words and turns follow from it.")] = 0,
    workers: Workers = 0,
    quiet: Quiet = False,
) -> None:
    """Render the built-in synthetic dialogue and take it through every stage. Needs no data and no network."""
    from dialogbuild.synth import DialogueSpec, make_dialogue

    video = out / "videos" / f"dialogue_{seed}_{seconds:g}s.mp4"
    if not video.is_file():
        video.parent.mkdir(parents=True, exist_ok=True)
        _say(f"rendering {seconds:g} s of dialogue to {video} …")
        make_dialogue(DialogueSpec(seed=seed, duration_s=seconds), video)
    run("demo", video.parent, out, None, workers, "", None, quiet)


@app.command(short_help="Fetch the videos of a source list.")
def download(
    sources: Annotated[
        Path, typer.Argument(help="A list: .txt (a URL or path per line), .csv or .jsonl with url, licence, …")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the videos and sources.jsonl.")] = Path("videos"),
    quiet: Quiet = False,
) -> None:
    """Fetch the videos of a source list; resumable, with licence and origin recorded for each.

    An error page is never saved as a video: what arrives is opened and checked before it gets its name. What failed is
    tried again by the same command; what is there is not fetched twice.
    """
    from dialogbuild.download import download as fetch

    failed = 0
    for row in fetch(sources, out, quiet=quiet or None):
        if row.status != "ok":
            failed += row.status == "failed"
            _say(f"{row.status}: {row.url}: {row.reason}")
    _say(f"see {out / 'sources.jsonl'}")
    if failed:
        raise typer.Exit(3)


@app.command(short_help="What is done, rejected, quarantined, to run.")
def status(out: Out = Path("out")) -> None:
    """What is done, rejected, quarantined, pending or stale in a folder; computes nothing."""
    from dialogbuild.explain import status_lines

    _say("\n".join(status_lines(out)))


@app.command(short_help="Why an item ran, was skipped or rejected.")
def explain(
    item: Annotated[str, typer.Argument(help="A video id or clip id, or part of one.")], out: Out = Path("out")
) -> None:
    """Why an item ran, was skipped, was rejected or would run again, stage by stage."""
    from dialogbuild.explain import explain_lines

    _say("\n".join(explain_lines(out, item)))


@app.command(short_help="Artefacts that nothing needs any more.")
def gc(
    out: Out = Path("out"), delete: Annotated[bool, typer.Option("--delete", help="Really delete.")] = False
) -> None:
    """List (or delete) artefacts that no longer belong to the last run's recipe and sources."""
    from dialogbuild.explain import superseded

    total = 0
    for path, size in superseded(out, delete):
        total += size
        _say(f"{size / 1e6:9.1f} MB  {path}")
    _say(f"{total / 1e6:.1f} MB {'deleted' if delete else 'could go; add --delete'}")


dataset_cli.add_verbs(app)
export_cli.register(app)
app.add_typer(models_cli.app, name="models")


@app.command(short_help="Write the report page again.")
def report(out: Out = Path("out")) -> None:
    """Write the report page of a finished run again, from what is on disk."""
    from dialogbuild.pipeline import Places, write_report_of

    write_report_of(Places(out))
    _say(str(Places(out).report))


@app.command(short_help="Every setting, its value and its reason.")
def settings(
    stage: Annotated[str, typer.Argument(help="A stage; all of them when left out.")] = "",
    recipe: Annotated[str, typer.Option(help="Whose values to show.")] = "demo",
) -> None:
    """Every setting of a recipe: its value, unit and reason."""
    name = stage.replace("-", "_")
    if name and name not in ORDER:
        raise ConfigError(f"no stage {stage!r}; there are: {', '.join(ORDER)}")
    loaded = _recipe(recipe, None)
    for entry in loaded.stages:
        if name in ("", entry.name):
            _say(f"[{entry.name}]")
            config = loaded.configs[entry.name]
            for key, info in type(config).model_fields.items():
                _say(f"{key} = {json.dumps(config.model_dump(mode='json')[key])}    # {info.description}")
            _say()


@app.command(short_help="What is installed, and what is missing.")
def doctor() -> None:
    """Versions, devices, programs and model files: what is here, and what each missing part would give."""
    from dialogbuild.doctor import lines

    _say("\n".join(lines()))


for _name in ORDER:
    if _name in cli_video.VERBS:
        cli_video.add_verb(app, _name, *_stage_doc(_name), _run_stage)
    else:
        _stage_verb(_name)


def main() -> None:
    """Entry point: errors that are the user's to mend are one message, not a traceback."""
    try:
        app()
    except Stopped as error:
        sys.exit(_fail(error, 130))
    except ConfigError as error:
        sys.exit(_fail(error, 2))
    except DialogbuildError as error:
        sys.exit(_fail(error, 1))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit(_fail(f"{error}: free some space and run the same command again; nothing is lost", 1))
        if isinstance(error, NotADirectoryError | FileExistsError | PermissionError):
            sys.exit(_fail(error, 1))
        raise


def _fail(error: object, code: int) -> int:
    typer.echo(f"dialogbuild: {error}", err=True)
    return code
