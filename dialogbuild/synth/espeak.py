"""eSpeak NG through ctypes: one sentence in, 16-bit samples and phoneme onsets out.

The command-line tool writes no phoneme times for its own voices; the library's event callback does. The library keeps
state between sentences (a second sentence in one process differs from the same sentence in a fresh one), so every
sentence runs in a process of its own: ``python -m dialogbuild.synth.espeak`` reads a request from stdin.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.errors import MissingPart

Int16Array = npt.NDArray[np.int16]

_RETRIEVAL_MODE_SYNCHRONOUS = 2
_PHONEME_EVENTS_AS_IPA = 0x1 | 0x2
_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
_CHARS_UTF8, _POSITION_CHARACTER = 1, 1


@dataclass(frozen=True)
class Voice:
    """An eSpeak NG voice and its prosody: words per minute, base pitch and pitch range (both 0 to 100)."""

    name: str
    rate_wpm: int
    pitch: int
    pitch_range: int


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def is_available() -> bool:
    """Whether libespeak-ng can be loaded on this machine."""
    try:
        _library()
    except MissingPart:
        return False
    return True


def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise MissingPart(
            "libespeak-ng is absent: it makes new sentences for the synthetic dialogue. Install it with "
            "`apt-get install libespeak-ng1`, or use the sentences of the committed bank."
        ) from error


def synthesize(text: str, voice: Voice) -> tuple[Int16Array, int, list[tuple[int, str]]]:
    """Speak one sentence in a fresh process.

    Returns:
        samples (N,) int16, their rate in Hz, and (sample index, IPA symbol) per phoneme onset in order; an empty
        symbol starts a pause.

    Raises:
        MissingPart: the library is absent.
        RuntimeError: the library failed; the message holds its complaint.
    """
    _library()
    request = json.dumps({"text": text, "voice": asdict(voice)})
    process = subprocess.run([sys.executable, "-m", __name__], input=request.encode(), capture_output=True, check=False)
    if process.returncode != 0:
        raise RuntimeError(f"eSpeak NG failed on {text!r}: {process.stderr.decode(errors='replace')[-2000:]}")
    header, _, samples = process.stdout.partition(b"\n")
    reply = json.loads(header)
    return np.frombuffer(samples, dtype="<i2"), int(reply["rate_hz"]), [(int(i), str(p)) for i, p in reply["onsets"]]


def _speak_here(text: str, voice: Voice) -> tuple[Int16Array, int, list[tuple[int, str]]]:
    library = _library()
    rate_hz = library.espeak_Initialize(_RETRIEVAL_MODE_SYNCHRONOUS, 0, None, _PHONEME_EVENTS_AS_IPA)
    if rate_hz <= 0:
        raise RuntimeError("espeak_Initialize found no voice data")
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise RuntimeError(f"no voice {voice.name!r}")
    for parameter, value in ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
        library.espeak_SetParameter(parameter, value, 0)
    blocks: list[Int16Array] = []
    onsets: list[tuple[int, str]] = []

    def collect(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                onsets.append((event.sample, event.id.string.decode("utf8", "replace")))
            index += 1
        return 0

    callback = _Callback(collect)
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int16), rate_hz, onsets


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one request from stdin: a JSON line {rate_hz, onsets}, then little-endian 16-bit samples."""
    request = json.load(sys.stdin)
    samples, rate_hz, onsets = _speak_here(request["text"], Voice(**request["voice"]))
    sys.stdout.buffer.write(json.dumps({"rate_hz": rate_hz, "onsets": onsets}).encode() + b"\n")
    sys.stdout.buffer.write(samples.astype("<i2").tobytes())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
