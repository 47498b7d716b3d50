"""assign: who are the two people, which tracks and which voice are theirs, and who speaks when.

reads   ingest     video.json;  with a network also ticks.parquet and pictures from the source
        shots      panes.parquet      shot, box_px (tracks never cross a shot; their shot column is used)
        tracks     tracks.parquet     track, tick, shot, box_px;  track_list.parquet  track, look (72)
        landmarks  landmarks.parquet  track, tick, lmk_px, ok
        diarize    vad.parquet, voices.parquet, embeddings.parquet, voices.json
writes  persons.parquet       person (0 is left), side, voice (-1: none linked), tracks (json list), seen_s, speak_s
        track_person.parquet  track, person (-1: neither), confidence (probability of that), reason (why neither:
                              "third_face" seen together with both, "no_match" with one of them, "cutaway" alone;
                              "photo", "inset" a second picture of somebody in view; "no_landmarks"; "ambiguous":
                              probably one of them, but with this confidence less than min_link)
        states.parquet        tick, state (0 silence, 1 person 0, 2 person 1, 3 both), p_speak_0, p_speak_1, p_overlap,
                              p_offscreen (somebody who is neither), face_seen_0, face_seen_1, third_face
        turns.parquet         person, start_tick, end_tick, start_s, end_s, kind, gap_s, confidence
        turns.rttm            the same, and what somebody off-screen says; labels person_0, person_1, offscreen
        exclusive.rttm        the same without overlap: the likelier of the two speaks
        turns.uem             the span that is scored: all of it
        assign.json           posterior and margin_nats of voice <-> face, contrast, hypotheses, lip normals, av_offset:
                              ms (positive: the sound is late), sigma_ms, both null unless reason is "ok", z, solo_s;
                              links: tracks and seconds by reason, least confidence of a linked track
rejects no_speech (seconds), not_a_dialogue (persons, voices), ambiguous_people (two people only if tracks are taken
        whose link is less sure than min_link: tracks, min_link), too_many_people (share of ticks with a third face),
        voice_off (most speech comes from somebody who is neither: share),
        one_voice (one voice, and one of the two never speaks; seconds), silent_partner (a person on screen never
        speaks, but two voices are heard; seconds), ambiguous_speakers (margin, posterior, contrast)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.dialogue.avoffset import LIP_LEAD_MS, LIP_LEAD_SIGMA_MS, OffsetRule
from dialogbuild.errors import Reject
from dialogbuild.tables import Columns, write_table

if TYPE_CHECKING:
    from dialogbuild.dialogue.av import Decoded, Verdict
    from dialogbuild.dialogue.decide import Answer, People
    from dialogbuild.dialogue.persons import Label
    from dialogbuild.dialogue.turns import Turn

Array = npt.NDArray[Any]
VOICE_FACTS = ("n_voices", "doubtful", "backend", "embedding", "cosine", "evidence_gain")
METHOD = {"chain": "av-hmm-5", "lips": "aperture-speed-2", "link": "partition-posterior-2"}


class Config(StageConfig):
    """What makes a dialogue of two people, and how sure the assignment must be."""

    min_speech_s: float = Field(1.0, ge=0, description="s of speech in the video; less is no_speech")
    min_seen_s: float = Field(1.0, ge=0, description="s that each person's face must be seen")
    min_speak_s: float = Field(0.6, ge=0, description="s that each person must speak: one short sentence")
    min_link: float = Field(
        0.9, ge=0.5, le=1, description="probability that a track is a person's; with less it is nobody's: ambiguous"
    )
    recognition_weights: str | None = Field(
        None,
        description="ONNX file of a face-recognition network (ArcFace: 112x112, 512 numbers): joins shape and look",
    )
    max_third_share: float = Field(0.5, gt=0, le=1, description="of ticks with a third face; more is a panel")
    max_offscreen_share: float = Field(
        0.5, ge=0, le=1, description="of the speech that may come from off-screen; more is a narrated film"
    )
    min_posterior: float = Field(0.9, ge=0.5, le=1, description="probability of which voice is which face")
    min_contrast: float = Field(
        0.6, ge=0, le=1, description="mean |p0 - p1| in speech that makes up for voices that cannot be told apart"
    )
    vad_weight: float = Field(
        1.5, ge=0, description="exponent on voice activity, which alone knows when sound starts and stops"
    )
    lip_weight: float = Field(0.3, ge=0, description="exponent on lip motion: its speed at neighbouring ticks agrees")
    voice_weight: float = Field(0.1, ge=0, description="exponent on the voice: a 1.6 s window spans 40 ticks")
    asd_weights: str | None = Field(
        None, description="file with the weights of Light-ASD or LR-ASD: its scores join lips and voices"
    )
    asd_weight: float = Field(0.12, ge=0, description="exponent on those scores; they span seconds of picture")
    min_on_s: float = Field(0.2, ge=0, description="s; shorter activity is a click or a breath")
    fill_s: float = Field(0.25, ge=0, description="s; shorter pauses are stop closures")
    merge_s: float = Field(0.5, ge=0, description="s; a speaker pausing for less keeps the turn")
    backchannel_s: float = Field(1.0, ge=0, description="s; shorter speech inside the other's turn is a backchannel")
    lip_lead_ms: float = Field(LIP_LEAD_MS, description="ms by which sound trails the lips in footage that is in sync")
    lip_lead_sigma_ms: float = Field(
        LIP_LEAD_SIGMA_MS, ge=0, description="ms; how sure lip_lead_ms is. Part of every av_offset's sigma"
    )


def check_people(people: People, n_voices: int, fps: float, config: Config) -> None:
    """Two people, and hardly anyone else.

    Raises:
        Reject: not_a_dialogue, ambiguous_people, too_many_people.
    """
    seen_s = people.seen.sum(axis=0) / fps
    persons = int((seen_s >= config.min_seen_s).sum())
    doubtful = sum(label.reason == "ambiguous" for label in people.labels.values())
    if persons < 2 and doubtful:
        raise Reject("ambiguous_people", persons=persons, tracks=doubtful, min_link=config.min_link)
    if persons < 2:
        raise Reject("not_a_dialogue", persons=persons, voices=n_voices, tracks=len(people.labels))
    share = float(people.third.mean())
    if share > config.max_third_share:
        raise Reject("too_many_people", share=round(share, 3), max_share=config.max_third_share)


def check_speakers(answer: Answer, voices: dict[str, Any], config: Config) -> None:
    """Both speak, and it is clear who is who.

    Raises:
        Reject: voice_off, ambiguous_speakers, one_voice, silent_partner.
    """
    verdict, speak_s, decoded = answer.verdict, answer.speak_s, answer.decoded
    spoken = decoded.p_other.sum() + (1.0 - decoded.posterior[:, 0]).sum()
    share = float(decoded.p_other.sum() / max(spoken, 1e-9))
    if share > config.max_offscreen_share:
        raise Reject("voice_off", share=round(share, 3), max_share=config.max_offscreen_share)
    posterior = which_face(verdict)
    if posterior < config.min_posterior and verdict.contrast < config.min_contrast:
        values = {"margin": verdict.margin, "posterior": posterior, "contrast": verdict.contrast}
        raise Reject("ambiguous_speakers", **{name: round(value, 4) for name, value in values.items()})
    quiet = int(np.argmin(speak_s))
    if speak_s[quiet] < config.min_speak_s:
        alone = voices["n_voices"] < 2 and not voices["doubtful"]
        raise Reject("one_voice" if alone else "silent_partner", person=quiet, seconds=round(float(speak_s[quiet]), 3))


def which_face(verdict: Verdict) -> float:
    """Probability of the better of the two ways to give the faces their parts, 0.5..1."""
    return float(1.0 / (1.0 + np.exp(-verdict.margin)))


def voice_of(verdict: Verdict, min_posterior: float) -> tuple[int, int]:
    """Voice of persons 0 and 1; -1 where it is not clear, or where one person does all the talking."""
    if verdict.pairing.startswith("only") or which_face(verdict) < min_posterior:
        return (-1, -1)
    return (0, 1) if verdict.log_evidence["identity"] > verdict.log_evidence["swap"] else (1, 0)


def turn_columns(turns: list[Turn], p_speak: Array, fps: float) -> Columns:
    """Columns of ``turns.parquet``; confidence is the speaker's mean posterior over the turn."""
    confidence = [float(p_speak[t.start : t.end, t.person].mean()) for t in turns]
    start, end = (np.array([getattr(t, name) for t in turns], np.int32) for name in ("start", "end"))
    return {
        "person": np.array([t.person for t in turns], np.int32),
        "start_tick": start,
        "end_tick": end,
        "start_s": start / fps,
        "end_s": end / fps,
        "kind": np.array([t.kind for t in turns], dtype=object),
        "gap_s": np.array([t.gap_ticks / fps for t in turns], np.float32),
        "confidence": np.array(confidence, np.float32),
    }


def person_columns(labels: dict[int, Label], voice: tuple[int, int], seen_s: Array, speak_s: Array) -> Columns:
    """Columns of ``persons.parquet``."""
    tracks = [sorted(track for track, label in labels.items() if label.person == person) for person in (0, 1)]
    return {
        "person": np.array([0, 1], np.int32),
        "side": np.array(("left", "right"), dtype=object),
        "voice": np.array(voice, np.int32),
        "tracks": np.array([json.dumps(t) for t in tracks], dtype=object),
        "seen_s": np.asarray(seen_s, np.float32),
        "speak_s": np.asarray(speak_s, np.float32),
    }


def track_columns(labels: dict[int, Label]) -> Columns:
    """Columns of ``track_person.parquet``."""
    order = sorted(labels)
    return {
        "track": np.array(order, np.int32),
        "person": np.array([labels[t].person for t in order], np.int32),
        "confidence": np.array([labels[t].confidence for t in order], np.float32),
        "reason": np.array([labels[t].reason for t in order], dtype=object),
    }


def state_columns(decoded: Decoded, people: People) -> Columns:
    """Columns of ``states.parquet``."""
    p = decoded.p_speak.astype(np.float32)
    return {
        "tick": np.arange(len(p), dtype=np.int32),
        "state": decoded.states,
        "p_speak_0": p[:, 0],
        "p_speak_1": p[:, 1],
        "p_overlap": decoded.p_overlap.astype(np.float32),
        "p_offscreen": decoded.p_other.astype(np.float32),
        "face_seen_0": people.seen[:, 0],
        "face_seen_1": people.seen[:, 1],
        "third_face": people.third,
    }


def network_scores(inputs: Inputs, owner: dict[int, int], weights: str | None, n_ticks: int) -> Array | None:
    """Log-odds of an active-speaker network per person, (T, 2), NaN unseen; None where no weights are given.

    Raises:
        ConfigError: the file does not hold the weights of a network that is known here.
    """
    if weights is None:
        return None
    from dialogbuild.dialogue.asd import load_network
    from dialogbuild.dialogue.asd_faces import by_person, score_tracks
    from dialogbuild.dialogue.pcm import Pcm
    from dialogbuild.media.chosen import open_video
    from dialogbuild.tables import read_table

    boxes = read_table(inputs["tracks"] / "tracks.parquet", ["track", "tick", "box_px"])
    mine = np.isin(boxes["track"], [track for track, person in owner.items() if person in (0, 1)])
    rows = {name: column[mine] for name, column in boxes.items()}
    pts = read_table(inputs["ingest"] / "ticks.parquet", ["pts"])["pts"]
    pcm = Pcm.open(inputs["ingest"] / "audio.flac")
    network = load_network(Path(weights))
    with open_video(inputs.source, inputs["ingest"]) as video:
        scores = score_tracks(video, pts, pcm, rows, network, inputs.progress)
    return by_person(owner, scores, n_ticks)


def model_files(config: Config) -> Sequence[Path]:
    """The files whose content decides the result, if there are any."""
    return [Path(path) for path in (config.asd_weights, config.recognition_weights) if path]


def verdict_record(answer: Answer, people: People, voices: dict[str, Any]) -> dict[str, Any]:
    """Content of ``assign.json`` but for ``av_offset``."""
    from dialogbuild.dialogue.account import own_account

    verdict, lips = answer.verdict, answer.decoded.lips
    return {
        "posterior": round(which_face(verdict), 6),
        "margin": round(verdict.margin, 4),
        "margin_unit": "nats, best against exchanged pairing of voices and faces",
        "contrast": round(verdict.contrast, 4),
        "pairing": verdict.pairing,
        "hypotheses": {
            name: {"probability": round(verdict.probability[name], 6), "log_evidence": round(evidence, 4)}
            for name, evidence in verdict.log_evidence.items()
        },
        "enrolled": answer.enrolled,
        "lips": {
            name: [round(x, 4) for x in getattr(lips, name)]
            for name in ("silent", "silent_sd", "speaking", "speaking_sd")
        },
        "voices": {name: voices[name] for name in VOICE_FACTS},
        "third_face_share": round(float(people.third.mean()), 4),
        "without_reference": own_account(answer, people),
        "method": METHOD,
    }


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """See the module's docstring."""
    from dialogbuild.dialogue import av
    from dialogbuild.dialogue.account import spoken_spans
    from dialogbuild.dialogue.decide import find_people, read_evidence, who_speaks
    from dialogbuild.dialogue.offsetdata import offset_record, video_offset
    from dialogbuild.dialogue.persons import link_record
    from dialogbuild.dialogue.turns import TurnRule, rttm
    from dialogbuild.pixels.traits import read_traits

    video = json.loads((inputs["ingest"] / "video.json").read_text())
    fps = video["fps"][0] / video["fps"][1]
    voices = json.loads((inputs["diarize"] / "voices.json").read_text())
    if voices["speech_s"] < config.min_speech_s:
        raise Reject("no_speech", seconds=voices["speech_s"])
    evidence = read_evidence(inputs["diarize"], inputs["tracks"], inputs["landmarks"], fps)
    evidence = replace(evidence, traits=read_traits(inputs, evidence.rows, config.recognition_weights))
    people = find_people(evidence, config.min_link)
    check_people(people, voices["n_voices"], fps, config)
    weights = av.Weights(config.vad_weight, config.lip_weight, config.voice_weight, config.asd_weight)
    rule = TurnRule(config.min_on_s, config.fill_s, config.merge_s, config.backchannel_s)
    owner = {track: label.person for track, label in people.labels.items()}
    asd = network_scores(inputs, owner, config.asd_weights, len(evidence.p_speech))
    answer = who_speaks(evidence, people, weights, rule, asd)
    check_speakers(answer, voices, config)

    voice = voice_of(answer.verdict, config.min_posterior)
    seen_s = people.seen.sum(axis=0) / fps
    write_table(out / "persons.parquet", person_columns(people.labels, voice, seen_s, answer.speak_s))
    write_table(out / "track_person.parquet", track_columns(people.labels))
    write_table(out / "states.parquet", state_columns(answer.decoded, people))
    write_table(out / "turns.parquet", turn_columns(answer.turns, answer.decoded.p_speak, fps))
    for name, labelled in spoken_spans(answer, fps).items():
        (out / name).write_text(rttm(labelled, inputs.video_id))
    (out / "turns.uem").write_text(f"{inputs.video_id} 1 0.000 {len(evidence.p_speech) / fps:.3f}\n")
    lead = OffsetRule(lead_ms=config.lip_lead_ms, lead_sigma_ms=config.lip_lead_sigma_ms)
    offset = video_offset(inputs["ingest"], evidence.rows, owner, answer.decoded.p_speak, lead)
    record = verdict_record(answer, people, voices)
    record["links"] = link_record(people.labels, evidence.rows.track, fps)
    write_json(out / "assign.json", {**record, "av_offset": offset_record(offset)})


STAGE = Stage(
    name="assign",
    version=7,
    unit="video",
    config=Config,
    run=run,
    reads=("ingest", "shots", "tracks", "landmarks", "diarize"),
    models=model_files,
)
