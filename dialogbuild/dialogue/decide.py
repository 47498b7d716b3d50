"""From what was heard and seen of a whole video to who the two people are and who speaks when. No verdicts here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dialogbuild.dialogue import av, enrol, facedata, persons
from dialogbuild.dialogue.likeness import Traits
from dialogbuild.dialogue.pcm import Array
from dialogbuild.dialogue.turns import Turn, TurnRule, dialogue_turns
from dialogbuild.tables import Columns, read_table

_REACH_S = 0.8  # half a voice window
_LABEL_NATS = 2.9  # a diarizer's labels are wrong one time in twenty


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the stages before measured, on T ticks.

    Attributes:
        fps: ticks per second.
        p_speech: (T,) probability that anyone speaks.
        voice_llr: (T,) nats, voice 0 over voice 1; 0 where it is unknown.
        embedding, centre_s: (W, D) unit voice vectors and the middles of their windows, (W,) ascending.
        both: (T,) nats for two voices at once; None where the diarizer does not hear overlap.
        rows: the faces' landmarks, in few numbers per row; box_px (N, 4) and shot (N,) of the same rows.
        traits: of each track's face, as far as they are known.
    """

    fps: float
    p_speech: Array
    voice_llr: Array
    embedding: Array
    centre_s: Array
    rows: facedata.FaceRows
    box_px: Array
    shot: Array
    both: Array | None = None
    traits: Mapping[int, Traits] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class People:
    """Whose face every track is.

    Attributes:
        labels: by track.
        lip_motion: (T, 2), NaN unseen;  seen: (T, 2) bool;  third: (T,) bool, somebody else's face is on screen.
    """

    labels: dict[int, persons.Label]
    lip_motion: Array
    seen: Array
    third: Array


@dataclass(frozen=True, eq=False)
class Answer:
    """Who speaks when.

    Attributes:
        verdict: which voice is whose, and how sure.
        decoded: states and posteriors; persons as in ``People``.
        enrolled: the faces taught the voices once more after the verdict.
        turns: sorted;  speak_s: (2,) seconds of them.
    """

    verdict: av.Verdict
    decoded: av.Decoded
    enrolled: bool
    turns: list[Turn]
    speak_s: Array


def read_evidence(diarize: Path, tracks: Path, landmarks: Path, fps: float) -> Evidence:
    """Read the artefacts of the three stages."""
    windows = read_table(diarize / "embeddings.parquet")
    voices = read_table(diarize / "voices.parquet")
    facts = json.loads((diarize / "voices.json").read_text())
    boxes = read_table(tracks / "tracks.parquet", ["track", "tick", "shot", "box_px"])
    return Evidence(
        fps=fps,
        p_speech=read_table(diarize / "vad.parquet")["p_speech"],
        voice_llr=voices["llr"],
        embedding=windows["embedding"],
        centre_s=windows["centre_s"],
        rows=facedata.read_faces(landmarks / "landmarks.parquet"),
        box_px=boxes["box_px"],
        shot=boxes["shot"],
        both=None if facts["backend"] == "offline" else heard_together(voices),
    )


def heard_together(voices: Columns) -> Array:
    """Nats for two voices at once, from the voices that a backend found active. -> (T,)."""
    active = np.stack([voices["voice_0"], voices["voice_1"]], axis=1)
    nats: Array = np.where(active.max(axis=1) > 0.5, _LABEL_NATS * (2.0 * active.min(axis=1) - 1.0), 0.0)
    return nats


def find_people(e: Evidence, min_link: float = persons.MIN_LINK) -> People:
    """Link the tracks to the two people; a track without landmarks is nobody's.

    Args:
        min_link: probability below which a track is nobody's rather than perhaps the wrong person's.
    """
    n_ticks = len(e.p_speech)
    faces, motions = facedata.make_faces(e.rows, e.box_px, e.shot, e.p_speech, e.voice_llr, e.fps, e.traits)
    labels = persons.link_tracks(faces, min_link)
    third = persons.third_face_ticks(faces, labels, n_ticks)
    whose = {track: label.person for track, label in labels.items()}
    lip_motion, seen = facedata.by_person(whose, motions, e.rows, n_ticks)
    missing = sorted(set(np.unique(e.rows.track).tolist()) - labels.keys())
    labels |= {track: persons.Label(persons.NOBODY, 1.0, "no_landmarks") for track in missing}
    return People(labels, lip_motion, seen, third)


def who_speaks(e: Evidence, people: People, weights: av.Weights, rule: TurnRule, asd: Array | None = None) -> Answer:
    """Decode under every pairing of voices and faces, let the faces teach the voices, and make turns.

    Args:
        asd: (T, 2) log-odds of an active-speaker network per person, NaN unseen.
    """
    observed = av.Observed(e.p_speech, people.lip_motion, e.voice_llr, e.fps, asd=asd, both=e.both)
    verdict = av.pair_voices(observed, weights)
    decoded = verdict.decoded
    if verdict.pairing not in ("only_0", "only_1") and e.both is None:  # else the backend knows the voices better
        decoded = enrol.enrol_voices(observed, decoded, e.embedding, e.centre_s, _REACH_S, weights)
    active = np.stack([(decoded.states & 1) > 0, (decoded.states & 2) > 0], axis=1)
    turns = dialogue_turns(active, e.fps, rule)
    speak_s = np.array([sum(t.end - t.start for t in turns if t.person == k) for k in (0, 1)]) / e.fps
    return Answer(verdict, decoded, decoded is not verdict.decoded, turns, speak_s)
