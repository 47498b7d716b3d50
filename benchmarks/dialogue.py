"""Who speaks when, and whose face it is, against the truth of rendered dialogues under noise, music and reverberation.

    python benchmarks/dialogue.py --seeds 20 --seconds 20 --cache FOLDER

Every dialogue is rendered and encoded, and its faces are found by the pipeline itself; a condition then replaces the
sound. The baseline, in the same run: voices alone (voice activity, GE2E, clustering) with each cluster given to
the person whom it fits best *by the truth*. All dialogues are unlike those that the chain's weights were fitted on
(``--first-seed 600`` shows these). With ``--ami FOLDER``, a folder that holds ``ami_sample.wav`` and ``.rttm``, the
diarization error on real far-field speech is added.

state      share of 25 Hz ticks with the right one of silence, left, right, both
overlap    precision, recall, F1 of the ticks at which both speak, pooled over dialogues
face       share of ticks with one speaker, found and true, at which it is the right person
own face   share of dialogues in which every person's speech goes mostly to that person
ece        expected calibration error of the persons' speaking probabilities, 15 bins, pooled
nats       mean -log of the true state's probability, what exponents are compared by
entropy    mean, bits; needs no truth. edge: median distance of a true change of state from a found one, s
DER, JER   of the persons' turns, persons as labelled, no collar (c.25: +-0.25 s), overlap scored
refused    dialogues that ``assign`` would reject: they are scored all the same
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dialogue_data import CONDITIONS, FIRST_TEST_SEED, KINDS, Talk, heard_under, load_talk
from dialogue_offsets import offset_errors
from dialogue_sound import ami_error

from dialogbuild.artifact import Inputs
from dialogbuild.dialogue import av, metrics
from dialogbuild.dialogue.backends.offline import voice_activity
from dialogbuild.dialogue.decide import Answer, find_people, read_evidence, who_speaks
from dialogbuild.dialogue.turns import TurnRule, intervals
from dialogbuild.errors import Reject
from dialogbuild.pixels.traits import read_traits
from dialogbuild.stages import assign, diarize
from dialogbuild.tables import read_table

Array = npt.NDArray[Any]
OFFSET_CONDITIONS = ("clean", "10 dB", "5 dB")


@dataclass(frozen=True, eq=False)
class Scored:
    """One dialogue under one condition; per-tick arrays are kept so that totals weigh every tick alike."""

    name: str
    kind: str
    condition: str
    truth: Array
    states: Array
    p_speak: Array
    audio_states: Array
    own_face: bool
    refused: str
    der: metrics.ErrorRate
    der_collar: metrics.ErrorRate
    jer: float
    offsets_ms: list[tuple[float, float | None]]
    rtf: float


def listen(talk: Talk, condition: str, weights: av.Weights) -> Scored:
    """Run the two stages that decide who speaks, and compare."""
    config = assign.Config()
    with tempfile.TemporaryDirectory() as scratch:
        dirs = {**talk.dirs, "ingest": heard_under(talk, condition, Path(scratch)), "diarize": Path(scratch) / "heard"}
        dirs["diarize"].mkdir()
        start = time.process_time()
        inputs = Inputs(talk.name, talk.name, Path("talk.mp4"), dirs)
        diarize.run(inputs, dirs["diarize"], diarize.Config())
        evidence = read_evidence(dirs["diarize"], dirs["tracks"], dirs["landmarks"], 25.0)
        evidence = replace(evidence, traits=read_traits(inputs, evidence.rows, None))
        people = find_people(evidence)
        rule = TurnRule(config.min_on_s, config.fill_s, config.merge_s, config.backchannel_s)
        answer = who_speaks(evidence, people, weights, rule)
        seconds = time.process_time() - start
        voices = json.loads((dirs["diarize"] / "voices.json").read_text())
        try:
            assign.check_people(people, voices["n_voices"], 25.0, config)
            assign.check_speakers(answer, voices, config)
            refused = ""
        except Reject as reject:
            refused = reject.reason
        heard = voice_states(dirs["diarize"], talk.states)
        offsets = offset_errors(evidence, dirs["ingest"], weights) if condition in OFFSET_CONDITIONS else []
    return scored(talk, condition, answer, heard, refused, offsets, seconds)


def scored(
    talk: Talk, condition: str, answer: Answer, heard: Array, refused: str, offsets: Any, seconds: float
) -> Scored:
    """Put one dialogue's figures together."""
    n = min(len(talk.states), len(answer.decoded.states))
    ref = spoken_turns(talk.speaking[:n])
    hyp = [(t.person, t.start / 25.0, t.end / 25.0) for t in answer.turns]
    span = (0.0, n / 25.0)
    solo = [talk.states[:n] == k + 1 for k in (0, 1)]
    p = answer.decoded.p_speak[:n]
    own = all(p[ticks, k].mean() > p[ticks, 1 - k].mean() for k, ticks in enumerate(solo) if ticks.any())
    return Scored(
        name=talk.name,
        kind=talk.kind,
        condition=condition,
        truth=talk.states[:n],
        states=answer.decoded.states[:n],
        p_speak=p,
        audio_states=heard[:n],
        own_face=bool(own),
        refused=refused,
        der=metrics.diarization_error(ref, hyp, span, 0.0, map_labels=False),
        der_collar=metrics.diarization_error(ref, hyp, span, 0.5, map_labels=False),
        jer=metrics.jaccard_error(ref, hyp, span),
        offsets_ms=offsets,
        rtf=seconds / (n / 25.0),
    )


def spoken_turns(speaking: Array) -> list[tuple[int, float, float]]:
    """True activity as intervals in seconds. (T, 2) bool."""
    return [(k, a / 25.0, b / 25.0) for k in (0, 1) for a, b in intervals(speaking[:, k])]


def voice_states(diarized: Path, truth: Array) -> Array:
    """What voices alone say, clusters named by the truth: (T,) states."""
    p_speech = read_table(diarized / "vad.parquet")["p_speech"]
    voices = read_table(diarized / "voices.parquet")
    posterior = np.stack([voices["voice_0"], voices["voice_1"]], axis=1)
    active = voice_activity(p_speech, posterior, diarize.Config().min_p_speech)
    options = [(active[:, list(order)] @ np.array([1, 2])).astype(np.int8) for order in permutations((0, 1))]
    n = len(truth)
    return max(options, key=lambda states: float((states[:n] == truth).mean()))


def sure(p_speak: Array, truth: Array) -> Array:
    """Probability of the true state, (T,), persons taken as independent given the posteriors (T, 2)."""
    spoken = np.stack([(truth & 1) > 0, (truth & 2) > 0], axis=1)
    likely: Array = np.where(spoken, p_speak, 1.0 - p_speak).prod(axis=1)
    return likely


def table(rows: list[Scored], label: str) -> dict[str, float]:
    """Print one line of pooled figures, and give them."""
    truth, states, p = (np.concatenate([getattr(r, name) for r in rows]) for name in ("truth", "states", "p_speak"))
    heard = np.concatenate([r.audio_states for r in rows])
    score = metrics.state_score(truth, states, p, 25.0)
    alone = metrics.state_score(truth, heard, np.stack([(heard & 1) > 0, (heard & 2) > 0], axis=1) * 1.0, 25.0)
    figures = {
        "state": score.accuracy,
        "audio_only": alone.accuracy,
        "lost_to_audio": float(sum((r.truth == r.states).mean() < (r.truth == r.audio_states).mean() for r in rows)),
        "overlap_p": score.overlap.precision,
        "overlap_r": score.overlap.recall,
        "overlap_f1": score.overlap.f1,
        "face": score.which_face,
        "audio_face": alone.which_face,
        "own_face": float(np.mean([r.own_face for r in rows])),
        "ece": score.ece,
        "nats": float(-np.log(sure(p, truth) + 1e-3).mean()),
        "entropy": metrics.mean_entropy(p.ravel()),
        "edge_s": score.boundary_s,
        "der": sum(r.der.missed_s + r.der.false_alarm_s + r.der.confusion_s for r in rows)
        / sum(r.der.total_s for r in rows),
        "der_c25": sum(r.der_collar.missed_s + r.der_collar.false_alarm_s + r.der_collar.confusion_s for r in rows)
        / max(sum(r.der_collar.total_s for r in rows), 1e-9),
        "jer": float(np.mean([r.jer for r in rows])),
        "refused": float(sum(bool(r.refused) for r in rows)),
        "rtf": float(np.mean([r.rtf for r in rows])),
    }
    if label == "":
        print(f"{'':<16}" + "".join(f"{name:>14}" for name in figures))
    else:
        print(f"{label:<16}" + "".join(f"{value:>14.3f}" for value in figures.values()))
    return figures


def work(seed: int, seconds: float, cache: Path, conditions: tuple[str, ...], weights: av.Weights) -> list[Scored]:
    """All conditions of one seed."""
    talk = load_talk(seed, seconds, cache)
    return [listen(talk, condition, weights) for condition in conditions]


def report(rows: list[Scored]) -> dict[str, dict[str, float]]:
    """Tables by condition, by layout, and by dialogue where it went wrong."""
    table(rows, "")
    by_condition = {
        c: table([r for r in rows if r.condition == c], c) for c in dict.fromkeys(r.condition for r in rows)
    }
    print()
    for kind in KINDS:
        if some := [r for r in rows if r.kind == kind]:
            table(some, kind)
    print()
    for r in rows:
        right, alone = (r.truth == r.states).mean(), (r.truth == r.audio_states).mean()
        if not r.own_face or r.refused or right < max(alone, 0.8):
            print(
                f"{r.name} {r.kind}, {r.condition}: state {right:.3f}, voices alone {alone:.3f}, {r.refused or 'kept'}"
            )
    return by_condition


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many dialogues; layouts take turns")
    parser.add_argument("--first-seed", type=int, default=FIRST_TEST_SEED, help="700: test; 600: calibration")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a dialogue")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--cache", type=Path, help="folder for rendered dialogues; default: made anew, then deleted")
    parser.add_argument("--ami", type=Path, help="folder with ami_sample.wav and ami_sample.rttm")
    config = assign.Config()
    parser.add_argument(
        "--weights",
        nargs=3,
        type=float,
        metavar=("VAD", "LIP", "VOICE"),
        default=[config.vad_weight, config.lip_weight, config.voice_weight],
        help="the chain's exponents; compare them on --first-seed 600 only",
    )
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Print the tables and the JSON line."""
    args = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        cache = args.cache or Path(scratch)
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
            weights = av.Weights(*args.weights)
            jobs = [pool.submit(work, s, args.seconds, cache, tuple(args.conditions), weights) for s in seeds]
            rows = [row for job in jobs for row in job.result()]
    by = report(rows)
    offsets = [(true, found) for r in rows for true, found in r.offsets_ms]
    known = [abs(found - true) for true, found in offsets if found is not None]
    print(f"\n{len(offsets)} injected offsets: {len(known)} told, worst error {max(known, default=0.0):.1f} ms")
    ami = ami_error(args.ami) if args.ami else None
    nan: dict[str, float] = {}
    line = {
        "state_acc_clean": by.get("clean", nan).get("state"),
        "state_acc_5db": by.get("5 dB", nan).get("state"),
        "overlap_f1": by.get("clean", nan).get("overlap_f1"),
        "which_face": float(np.mean([r.own_face for r in rows])),
        "ece": metrics.calibration_error(
            np.concatenate([r.p_speak.ravel() for r in rows]),
            np.concatenate([np.stack([(r.truth & 1) > 0, (r.truth & 2) > 0], axis=1).ravel() for r in rows]),
        ),
        "offset_ms_max": max(known, default=None),
        "audio_only_acc_clean": by.get("clean", nan).get("audio_only"),
        "ami_der": ami,
        "rtf": float(np.mean([r.rtf for r in rows])),
        "offsets_told": len(known),
        "offsets_injected": len(offsets),
        "overlap_f1_5db": by.get("5 dB", nan).get("overlap_f1"),
        "lost_to_audio": sum(b["lost_to_audio"] for b in by.values()),
        "dialogues": args.seeds,
    }
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}))


if __name__ == "__main__":
    main()
