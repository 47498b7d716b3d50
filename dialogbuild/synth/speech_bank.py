"""Makes the committed sentence bank: ``python -m dialogbuild.synth.speech_bank`` (needs libespeak-ng 1.51).

One FLAC per voice and one index. Samples are rounded to multiples of 64 (10 bits): FLAC stores the empty low bits for
free, the rounding noise is 41 dB below the speech, and the bank stays near half a megabyte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from dialogbuild.synth.speech import SAMPLE_RATE_HZ, trimmed

_STEP = 64

# Lines alternate: m3's line i is answered by f3's line i.
LINES = {
    "m3": (
        "Hello, how was your trip to the mountains last week?",
        "That sounds amazing. Did you bring the big camera?",
        "I missed the bus again, so I walked from the river.",
        "My brother moved to Boston, and he loves the place.",
        "What about the project, is the budget approved?",
        "Then maybe we should meet before the summer.",
        "Perfect. I will book a room and send you a map.",
        "Do you remember the film about the two painters?",
        "I thought the first half was much too slow.",
        "The people behind me were sleeping by then.",
        "Well, it was nice to see you. Give my best to Emma.",
    ),
    "f3": (
        "It was wonderful. We walked for seven hours every day.",
        "Of course, I have a hundred pictures of the village.",
        "You poor thing, that must be a very long way.",
        "Really? I remember him from your birthday party.",
        "Almost. They want to see the numbers by Monday.",
        "Good idea, but please, not before my vacation.",
        "Thank you. I hope it has a window this time.",
        "Yes, my mother bought two copies of the book.",
        "Maybe, but the ending was absolutely beautiful.",
        "You are impossible, do you know that?",
        "I will, thank you. Have a safe trip home.",
    ),
}
BACKCHANNELS = {"m3": ("Um hum.", "Right.", "Oh, wow."), "f3": ("Um hum.", "Yeah.", "I see.")}


def build(folder: Path) -> int:
    """Write ``bank_m3.flac``, ``bank_f3.flac`` and ``bank.json`` to a folder; returns their bytes in total."""
    entries = []
    for voice, lines in LINES.items():
        blocks = []
        start = 0
        for kind, texts in (("turn", lines), ("backchannel", BACKCHANNELS[voice])):
            for text in texts:
                samples, onsets, end = trimmed(text, voice)
                entries.append(
                    {
                        "voice": voice,
                        "kind": kind,
                        "text": text,
                        "start_sample": start,
                        "n_samples": len(samples),
                        "onsets": onsets,
                        "end_sample": end,
                    }
                )
                blocks.append(np.round(samples * 32768.0 / _STEP).astype(np.int16) * np.int16(_STEP))
                start += len(samples)
        track = np.concatenate(blocks)
        soundfile.write(folder / f"bank_{voice}.flac", track, SAMPLE_RATE_HZ, subtype="PCM_16", compression_level=1.0)
    rows = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
    index = f'{{"made_with":"eSpeak NG 1.51","sample_rate_hz":{SAMPLE_RATE_HZ},"utterances":[\n{rows}\n]}}\n'
    (folder / "bank.json").write_text(index, encoding="utf-8")
    return sum((folder / name).stat().st_size for name in ("bank.json", *(f"bank_{voice}.flac" for voice in LINES)))


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild the committed bank in place."""
    build(Path(__file__).parent)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
