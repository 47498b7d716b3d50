"""A synthetic dialogue of two people with complete ground truth: what the demo and the tests run on."""

from __future__ import annotations

from dialogbuild.synth.container import make_faulty, write_sound
from dialogbuild.synth.dialogue import make_dialogue, make_speech
from dialogbuild.synth.spec import DialogueSpec
from dialogbuild.synth.truth import PersonTruth, Truth, load_truth

__all__ = [
    "DialogueSpec",
    "PersonTruth",
    "Truth",
    "load_truth",
    "make_dialogue",
    "make_faulty",
    "make_speech",
    "write_sound",
]
