"""The runner's promises, on four small stages in real worker processes."""

from __future__ import annotations

import importlib
import json
import multiprocessing as mp
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from dialogbuild import explain
from dialogbuild.artifact import Stage
from dialogbuild.errors import ConfigError, DialogbuildError
from dialogbuild.ledger import final_entries, summary
from dialogbuild.pipeline import Finished, Places, Share, run_stages
from dialogbuild.recipe import Recipe
from dialogbuild.runner import exclusive
from dialogbuild.sources import discover

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture(autouse=True)
def _fakes_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FAKES))


def recipe(**settings: dict[str, object]) -> Recipe:
    stages: tuple[Stage, ...] = tuple(
        importlib.import_module(f"fake_{name}").STAGE for name in ("measure", "segment", "gate", "pack")
    )
    return Recipe("fakes", stages, {s.name: s.config.model_validate(settings.get(s.name, {})) for s in stages})


def videos(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.mp4").write_text(text)
    return folder


def go(src: Path, out: Path, **settings: dict[str, object]) -> Finished:
    return run_stages(recipe(**settings), src, Places(out), workers=2, quiet=True)


def status_of(finished: Finished, stage: str, source: str) -> list[tuple[str, str | None]]:
    return [(r.status, r.reason) for r in finished.entries if r.stage == stage and r.source == f"{source}.mp4"]


def test_every_input_ends_and_neighbours_survive_a_reject_a_bug_and_a_dead_worker(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", good="hello", bad="reject me", bug="crash", dead="die", fine="hello again")
    finished = go(src, tmp_path / "out")
    assert status_of(finished, "measure", "bad") == [("rejected", "unsuitable")]
    assert status_of(finished, "measure", "bug") == [("quarantined", "RuntimeError: a bug")]
    [(status, reason)] = status_of(finished, "measure", "dead")
    assert status == "quarantined"
    assert reason is not None
    assert "worker process died" in reason
    for name in ("good", "fine"):
        assert status_of(finished, "pack", name) == [("ok", None)] * 2, (
            "a neighbour of a dead worker is tried again alone"
        )
    assert len({row.video_id for row in final_entries(finished.entries)}) == 5
    assert any("unsuitable 1" in line for line in summary(finished.entries))


def test_the_same_run_again_computes_nothing_but_retries_the_quarantine(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", good="hello", bad="reject me", bug="crash")
    assert go(src, tmp_path / "out").computed == 3 + 1 + 2 + 2, "three are measured, one is cut into two clips"
    again = go(src, tmp_path / "out")
    assert again.computed == 1, "only the quarantined item is tried again"
    record = json.loads(next((tmp_path / "out/work/_quarantine/measure").glob("*.json")).read_text())
    assert record["attempts"] == 2
    assert "RuntimeError: a bug" in record["traceback"]


def test_a_mended_source_leaves_the_quarantine(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", bug="crash")
    go(src, tmp_path / "out")
    videos(src, bug="mended")
    finished = go(src, tmp_path / "out")
    assert finished.quarantined() == []


def test_a_changed_setting_recomputes_only_what_depends_on_it_and_explain_says_so(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", good="hello")
    go(src, tmp_path / "out")
    strict = go(src, tmp_path / "out", gate={"strict": True})
    assert strict.computed == 2, "two gates; nothing behind the gate reads it"
    assert status_of(strict, "pack", "good") == [("ok", None)], "the rejected clip goes no further"
    assert status_of(strict, "gate", "good") == [("ok", None), ("rejected", "second_clip")]
    gained = go(src, tmp_path / "out", gate={"strict": True}, measure={"gain": 2})
    assert gained.computed == 1 + 1 + 2 + 1


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", a="one", b="two two", c="three three three")
    keys = []
    for workers in (1, 3):
        out = tmp_path / f"out{workers}"
        finished = run_stages(recipe(), src, Places(out), workers=workers, quiet=True)
        keys.append([(row.stage, row.item, Path(row.path or "").name) for row in finished.entries])
    assert keys[0] == keys[1]


def test_identical_files_are_computed_once_and_the_copy_is_a_recorded_reject(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", first="the same", second="the same")
    finished = go(src, tmp_path / "out")
    assert [row.reason for row in final_entries(finished.entries) if row.status == "rejected"] == ["duplicate"]


def test_a_full_disk_stops_the_run_with_its_name(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", unlucky="full")
    with pytest.raises(DialogbuildError, match="No space left on device"):
        go(src, tmp_path / "out")


def _run_forever(src: Path, out: Path, fakes: str) -> None:
    sys.path.insert(0, fakes)
    go(src, out)


def test_a_killed_run_leaves_nothing_half_done_and_no_workers(tmp_path: Path) -> None:
    src, out = videos(tmp_path / "v", slow="slow"), tmp_path / "out"
    process = mp.get_context("spawn").Process(target=_run_forever, args=(src, out, str(FAKES)))
    process.start()
    deadline = time.monotonic() + 60
    while not list((out / "work/_tmp").glob("*/half")) and time.monotonic() < deadline:
        time.sleep(0.05)
    half = list((out / "work/_tmp").glob("*/half"))
    assert half, "the stage never started"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (out / "work/measure").exists(), "nothing was committed"
    with exclusive(out / "work"):
        assert not half[0].exists(), "the next run sweeps what was half-written"


def test_two_runs_cannot_share_a_folder_at_once(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(DialogbuildError, match="another run is using"), exclusive(tmp_path):
        pass


def test_shares_are_disjoint_and_complete(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", **{f"v{i}": f"text {i}" for i in range(20)})
    sources, _ = discover(src)
    taken = [[s.video_id for s in sources if Share(i, 3).takes(s)] for i in range(3)]
    assert sorted(video for share in taken for video in share) == sorted(s.video_id for s in sources)
    assert all(taken)
    with pytest.raises(ConfigError, match="from 0 to 2"):
        Share.parse("3/3")


def test_an_empty_folder_and_a_missing_one_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        discover(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(ConfigError, match="holds no video"):
        discover(tmp_path)


def test_a_source_that_changes_while_it_is_read_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src = videos(tmp_path / "v", growing="hello")
    from dialogbuild import pipeline

    def discover_then_grow(*args: object) -> object:
        found = discover(*args)  # type: ignore[arg-type]
        videos(src, growing="hello and more")
        return found

    monkeypatch.setattr(pipeline, "discover", discover_then_grow)
    finished = go(src, tmp_path / "out")
    [(status, reason)] = status_of(finished, "measure", "growing")
    assert status == "quarantined"
    assert "changed while it was read" in str(reason)


def test_the_runs_own_output_is_never_its_input(tmp_path: Path) -> None:
    src = videos(tmp_path / "v", a="hello")
    for _ in range(2):
        finished = go(src, src / "out")
        (src / "out" / "dataset").mkdir(exist_ok=True)
        (src / "out" / "dataset" / "crop.mp4").write_text("made by the run")
    assert {row.source for row in finished.entries} == {"a.mp4"}


def test_an_unreadable_file_is_quarantined_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dialogbuild import sources

    def refuse(path: Path) -> tuple[int, int]:
        if path.name == "locked.mp4":
            raise PermissionError(13, "Permission denied")
        return path.stat().st_size, path.stat().st_mtime_ns

    monkeypatch.setattr(sources, "source_mark", refuse)
    finished = go(videos(tmp_path / "v", locked="x", good="hello"), tmp_path / "out")
    [(status, reason)] = status_of(finished, "measure", "locked")
    assert (status, reason) == ("quarantined", "the file cannot be read: Permission denied")
    assert status_of(finished, "pack", "good") == [("ok", None)] * 2


def test_linked_folders_are_searched_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    src, other = videos(tmp_path / "v", a="one"), videos(tmp_path / "w", b="two")
    (src / "linked").symlink_to(other)
    (other / "back").symlink_to(src)
    assert [s.path.name for s in discover(src)[0]] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("name", ["_run/hashes.0of1.json", "_run/funnel.json", "_quarantine/measure/bug-x.json"])
def test_a_damaged_state_file_does_not_stop_the_next_run(tmp_path: Path, name: str) -> None:
    src = videos(tmp_path / "v", good="hello", bug="crash")
    go(src, tmp_path / "out")
    path = tmp_path / "out/work" / name
    if "quarantine" in name:
        path = next((tmp_path / "out/work/_quarantine/measure").glob("*.json"))
    path.write_text('{"half')
    again = go(src, tmp_path / "out")
    assert again.computed == 1
    assert json.loads(path.read_text())


def test_gc_waits_for_no_run_and_deletes_only_what_is_superseded(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with exclusive(work), pytest.raises(DialogbuildError, match="another run is using"):
        explain.superseded(tmp_path, delete=True)


def test_a_full_run_and_a_share_exclude_each_other_but_shares_do_not(tmp_path: Path) -> None:
    with exclusive(tmp_path, "0of2"):
        with pytest.raises(DialogbuildError, match="another run is using"), exclusive(tmp_path):
            pass
        with exclusive(tmp_path, "1of2"):
            pass


def test_explain_differences_are_words() -> None:
    old = {"stage": "s", "version": 1, "source_sha256": "x", "config": {"a": 1}, "inputs": {"t": "k"}, "models": {}}
    old["code"] = "c"
    new = {**old, "version": 2, "config": {"a": 2}, "inputs": {"t": "l"}}
    from dialogbuild.ledger import differences

    assert differences(old, new, lambda _: None) == ["stage version 1 -> 2", "s.a 1 -> 2", "its input from t changed"]
    assert explain.status_lines.__doc__
