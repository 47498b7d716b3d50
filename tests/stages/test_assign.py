"""assign: who is who, and who speaks when."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spoken import Spoken, spoken

from dialogbuild.artifact import write_json
from dialogbuild.dialogue.decide import People
from dialogbuild.dialogue.metrics import turn_f1
from dialogbuild.dialogue.persons import NOBODY, Label
from dialogbuild.errors import Reject
from dialogbuild.media.audio import write_flac
from dialogbuild.stages import assign, diarize
from dialogbuild.synth import DialogueSpec, make_speech
from dialogbuild.tables import read_table, write_table


@pytest.fixture(scope="module")
def make_talk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def make(people: list[int] | None = None, **spec: Any) -> Spoken:
        made = spoken(tmp_path_factory.mktemp("assign"), people=people, **{"duration_s": 14.0, **spec})
        made.run(diarize.STAGE)
        return made

    return make


@pytest.fixture(scope="module")
def talk(make_talk: Any) -> Spoken:
    made: Spoken = make_talk(seed=3)
    made.run(assign.STAGE)
    return made


def person_of(talk: Spoken) -> list[int]:
    """Which output person each true person must be: 0 is left."""
    sides = [p.side for p in talk.truth.persons[:2]]
    return [0 if side == "left" else 1 for side in sides]


def which_face_right(talk: Spoken) -> float:
    """Share of the ticks with one true speaker at which that person is the likelier speaker."""
    states, truth, person = read_table(talk.dirs["assign"] / "states.parquet"), talk.truth.states, person_of(talk)
    p = np.stack([states["p_speak_0"], states["p_speak_1"]], axis=1)
    solo = (truth == 1) | (truth == 2)
    expected = np.array(person)[truth[solo] - 1]
    return float((p[solo].argmax(axis=1) == expected).mean())


def f1(talk: Spoken) -> float:
    turns, person = read_table(talk.dirs["assign"] / "turns.parquet"), person_of(talk)
    written = [(person[t.person], t.start_s, t.end_s) for t in talk.truth.turns]
    found = list(zip(turns["person"], turns["start_s"], turns["end_s"], strict=True))
    return turn_f1(written, found).f1


def test_every_tick_has_a_state_and_probabilities(talk: Spoken) -> None:
    states = read_table(talk.dirs["assign"] / "states.parquet")
    assert states["tick"].tolist() == list(range(talk.truth.n_ticks))
    assert set(np.unique(states["state"])) <= {0, 1, 2, 3}
    for name in ("p_speak_0", "p_speak_1", "p_overlap"):
        assert (states[name].min() >= 0.0) & (states[name].max() <= 1.0 + 1e-6)
    assert states["face_seen_0"].all()
    assert states["face_seen_1"].all()


def test_persons_are_left_and_right_and_have_a_voice_each(talk: Spoken) -> None:
    persons = read_table(talk.dirs["assign"] / "persons.parquet")
    assert persons["person"].tolist() == [0, 1]
    assert persons["side"].tolist() == ["left", "right"]
    assert sorted(persons["voice"].tolist()) == [0, 1]
    assert persons["speak_s"].min() > 1.0
    record = json.loads((talk.dirs["assign"] / "assign.json").read_text())
    assert record["posterior"] > 0.99
    assert sum(h["probability"] for h in record["hypotheses"].values()) == pytest.approx(1.0, abs=1e-4)


def test_how_sure_the_links_are_is_on_record(talk: Spoken) -> None:
    record = json.loads((talk.dirs["assign"] / "assign.json").read_text())["links"]
    assert record["linked"] == {"tracks": 2, "seconds": 28.0}
    tracks = read_table(talk.dirs["assign"] / "track_person.parquet")
    assert record["least_confidence"] == pytest.approx(tracks["confidence"].min(), abs=1e-4)
    assert record["least_confidence"] >= assign.Config().min_link


def test_two_people_only_by_doubtful_links_are_rejected_for_that() -> None:
    seen = np.zeros((100, 2), bool)
    seen[:50, 0] = True
    labels = {0: Label(0, 0.99), 1: Label(NOBODY, 0.8, "ambiguous")}
    doubtful = People(labels, np.full((100, 2), np.nan), seen, np.zeros(100, bool))
    with pytest.raises(Reject) as caught:
        assign.check_people(doubtful, 2, 25.0, assign.Config())
    assert (caught.value.reason, caught.value.values["tracks"]) == ("ambiguous_people", 1)


def test_turns_are_consistent_with_the_states(talk: Spoken) -> None:
    turns = read_table(talk.dirs["assign"] / "turns.parquet")
    assert (turns["end_tick"] > turns["start_tick"]).all()
    assert turns["start_s"] == pytest.approx(turns["start_tick"] / 25)
    assert (turns["confidence"] > 0.5).all()
    assert len((talk.dirs["assign"] / "turns.rttm").read_text().splitlines()) == len(turns["person"])


@pytest.mark.parametrize("spec", [
    {"seed": 0}, {"seed": 5, "swap_sides": True}, {"seed": 6, "noise_db": -35.0},
    {"seed": 7, "layout": "split_screen"}, {"seed": 8, "cuts": (4.0, 9.0), "swap_each_cut": True},
])  # fmt: skip
def test_who_speaks_and_when_comes_out_right(make_talk: Any, spec: dict[str, Any]) -> None:
    made = make_talk(**spec)
    made.run(assign.STAGE)
    if not spec.get("swap_each_cut"):
        assert which_face_right(made) > 0.9  # these five lie between 0.92 and 0.99
        assert f1(made) >= 0.6
        return
    tracks = read_table(made.dirs["assign"] / "track_person.parquet")
    boxes = read_table(made.dirs["tracks"] / "tracks.parquet")
    owner = {}
    for track in tracks["track"].tolist():
        row = np.flatnonzero(boxes["track"] == track)[0]
        frame = made.truth.tick_frames[boxes["tick"][row]]
        gaps = [abs(p.box_px[frame] - boxes["box_px"][row]).max() for p in made.truth.persons]
        owner[track] = int(np.argmin(gaps))
    found = {(owner[t], p) for t, p in zip(tracks["track"].tolist(), tracks["person"].tolist(), strict=True)}
    assert len(found) == 2


def test_close_ups_that_alternate_are_linked_to_two_people(make_talk: Any) -> None:
    made = make_talk(seed=3, layout="close_ups", duration_s=16.0)
    made.run(assign.STAGE)
    assert which_face_right(made) > 0.9


def rejected(made: Spoken, **config: Any) -> Reject:
    with pytest.raises(Reject) as caught:
        made.run(assign.STAGE, **config)
    return caught.value


def test_silence_is_no_speech(make_talk: Any) -> None:
    verdict = rejected(make_talk(seed=1, audio="silence", duration_s=6.0))
    assert (verdict.reason, verdict.values["seconds"]) == ("no_speech", 0.0)


def test_music_is_no_speech(make_talk: Any) -> None:
    assert rejected(make_talk(seed=2, audio="music", duration_s=8.0)).reason == "no_speech"


def test_two_people_who_only_listen_to_voices_off_are_not_given_the_words(make_talk: Any) -> None:
    made = make_talk(seed=1, audio="silence")
    sound, _ = make_speech(DialogueSpec(seed=9, duration_s=14.0))
    write_flac(made.dirs["ingest"] / "audio.flac", [sound])
    made.run(diarize.STAGE)
    verdict = rejected(made)
    assert verdict.reason == "voice_off"
    assert verdict.values["share"] > 0.9


def test_one_face_is_not_a_dialogue(make_talk: Any) -> None:
    verdict = rejected(make_talk(seed=1, people=[0], duration_s=8.0))
    assert verdict.reason == "not_a_dialogue"
    assert verdict.values["persons"] == 1


def test_a_face_that_never_speaks_is_told_with_its_seconds(make_talk: Any) -> None:
    verdict = rejected(make_talk(seed=2, audio="one_voice"))
    assert verdict.reason in ("one_voice", "silent_partner")
    assert verdict.values["seconds"] < 0.6


def test_a_third_face_throughout_is_too_many_people(make_talk: Any) -> None:
    made = make_talk(seed=4, faces=3, duration_s=12.0)
    verdict = rejected(made)
    assert (verdict.reason, verdict.values["share"]) == ("too_many_people", 1.0)
    made.run(assign.STAGE, max_third_share=1.0)
    tracks = read_table(made.dirs["assign"] / "track_person.parquet")
    assert sorted(tracks["person"].tolist()) == [-1, 0, 1]
    assert "third_face" in tracks["reason"].tolist()


def test_still_lips_and_one_indistinct_voice_are_ambiguous(talk: Spoken, tmp_path: Path) -> None:
    frozen = Spoken(dict(talk.dirs), talk.truth)
    for name in ("landmarks", "diarize", "root"):
        (tmp_path / name).mkdir()
        frozen.dirs[name] = tmp_path / name
    faces = read_table(talk.dirs["landmarks"] / "landmarks.parquet")
    faces["lmk_px"] = faces["lmk_px"].copy()
    for track in np.unique(faces["track"]):
        mesh = faces["lmk_px"].reshape(-1, 478, 2)[faces["track"] == track]
        mesh[:, [87, 14, 317]] = mesh[:, [82, 13, 312]]
        faces["lmk_px"][faces["track"] == track] = mesh.reshape(len(mesh), -1)
    write_table(tmp_path / "landmarks" / "landmarks.parquet", faces)
    for name in ("vad", "voices", "embeddings"):
        table = read_table(talk.dirs["diarize"] / f"{name}.parquet")
        if name == "voices":
            table["llr"] = np.zeros_like(table["llr"])
        if name == "embeddings":
            table["embedding"] = np.ones_like(table["embedding"]) / 16.0
        write_table(tmp_path / "diarize" / f"{name}.parquet", table)
    facts = json.loads((talk.dirs["diarize"] / "voices.json").read_text())
    write_json(tmp_path / "diarize" / "voices.json", facts)
    assert rejected(frozen).reason == "voice_off"
    verdict = rejected(frozen, max_offscreen_share=1.0)
    assert verdict.reason == "ambiguous_speakers"
    assert verdict.values["posterior"] == pytest.approx(0.5, abs=0.05)


def test_the_same_tables_give_the_same_bytes(talk: Spoken, tmp_path: Path) -> None:
    assign.STAGE.run(talk.inputs(assign.STAGE), tmp_path, assign.Config())
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (talk.dirs["assign"] / path.name).read_bytes(), path.name
