import inspect

import typer
from typer.testing import CliRunner

from dialogbuild import export_cli
from dialogbuild.dataset.exporters.registry import FORMATS
from dialogbuild.errors import ConfigError


def call(*arguments):
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    export_cli.register(app)
    app.command("other")(lambda: None)  # with one verb alone its name would not be asked for
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_the_help_names_every_format():
    text = inspect.getdoc(export_cli.export)
    shown = call("--help").stdout
    for name in FORMATS:
        assert f"\n{name} " in text
        assert name in shown


def test_the_list_says_what_each_format_loses_and_can_be_narrowed():
    text = call("--list").stdout
    for form in FORMATS.values():
        assert all(sentence in text for sentence in form.lost)
    assert call("--list", "rttm").stdout.startswith("rttm: for pyannote")
    assert "GaussianAvatars" not in call("--list", "rttm").stdout


def test_an_export_tells_what_was_dropped_and_where_the_rest_is_written(flame, tmp_path):
    done = call(flame.root, "dualtalk", "--out", tmp_path / "x", "--set", "rotation=root")
    assert done.exit_code == 0, done.output
    assert "dropped: talk-35_c000: no 201 ticks in a row" in done.stdout
    assert "dualtalk: 1 clips in" in done.stdout
    assert (tmp_path / "x" / "LOST.md").is_file()


def test_clips_and_splits_are_chosen(flame, tmp_path):
    assert call(flame.root, "rttm", "--out", tmp_path / "x", "--split", "val").exit_code == 0
    assert [p.name for p in (tmp_path / "x" / "rttm").iterdir()] == ["talk-35_c000.rttm"]
    assert call(flame.root, "rttm", "--out", tmp_path / "y", "--clip", "talk-35_c000").exit_code == 0
    assert [p.name for p in (tmp_path / "y" / "rttm").iterdir()] == ["talk-35_c000.rttm"]


def test_wrong_arguments_are_explained(flame, procedural, tmp_path):
    for arguments, reason in (
        ((), "give a dataset folder and a format"),
        ((flame.root, "mp3"), "no format 'mp3'"),
        ((flame.root, "rttm", "--split", "dev", "--out", tmp_path / "x"), "may be: train, val, test"),
        ((procedural.root, "artalk", "--out", tmp_path / "x"), "--allow-other-head"),
    ):
        error = call(*arguments).exception
        assert isinstance(error, ConfigError)
        assert reason in str(error)
    for flag in ("--allow-other-head", "--allow-procedural"):
        assert call(procedural.root, "artalk", "--out", tmp_path / flag.strip("-"), flag).exit_code == 0
