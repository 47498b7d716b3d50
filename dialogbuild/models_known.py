"""Every model file that this package can use but does not bring: licence, source and use."""

from __future__ import annotations

from dataclasses import dataclass

_FLAME = "register at https://flame.is.tue.mpg.de and download it there"
_FLAME_LICENCE = "FLAME's own licence, as its download page states it for the release; treat it as non-commercial"


@dataclass(frozen=True)
class Known:
    """One kind of model.

    Args:
        title: as people call it.
        file: what it is called when it comes.
        licence: a summary, not the text; the text comes with the model.
        where: how to get it.
        gives: what it is good for here.
        section: where it is stored, empty for what is stored elsewhere.
    """

    title: str
    file: str
    licence: str
    where: str
    gives: str
    section: str = "heads"


KNOWN = {
    "flame2023_Open": Known(
        "FLAME 2023 Open", "flame2023_Open.pkl", "CC-BY-4.0: name the authors", _FLAME,
        "the head for datasets that may be passed on: 300 identity and 100 expression directions from scans",
    ),
    "flame2023": Known(
        "FLAME 2023", "flame2023.pkl", _FLAME_LICENCE, _FLAME, "as 2023 Open, under its own licence",
    ),
    "flame2023_no_jaw": Known(
        "FLAME 2023 without jaw", "flame2023_no_jaw.pkl", _FLAME_LICENCE, _FLAME,
        "the variant without jaw rotation",
    ),
    "flame": Known(
        "FLAME 2017, 2019 or 2020", "generic_model.pkl", _FLAME_LICENCE, _FLAME,
        "the older releases; each has coefficients of its own: give --name flame2020 or whichever it is",
    ),
    "masks": Known(
        "FLAME vertex masks", "FLAME_masks.pkl", _FLAME_LICENCE, _FLAME,
        "regions of FLAME: lips, lids, skin; wanted by photometric refinement", "beside",
    ),
    "texture": Known(
        "FLAME texture space", "FLAME_texture.npz", "CC-BY-NC-SA-4.0: no commercial use", _FLAME,
        "skin colours for fitting pixels with FLAME", "beside",
    ),
    "mediapipe_embedding": Known(
        "FLAME mediapipe embedding", "mediapipe_landmark_embedding.npz", _FLAME_LICENCE, _FLAME,
        "where 105 of the face mesh's landmarks are on FLAME; without it FLAME cannot be fitted", "beside",
    ),
    "landmark_embedding": Known(
        "FLAME landmark embedding", "landmark_embedding.npy", _FLAME_LICENCE,
        "comes with FLAME_PyTorch, DECA and EMOCA; or from FLAME's site", "the 68 iBUG landmarks on FLAME", "beside",
    ),
    "ict-facekit": Known(
        "ICT-FaceKit light", "FaceXModel/", "MIT: keep its notice", "git clone https://github.com/ICT-VGL/ICT-FaceKit",
        "100 identities from scans and 53 ARKit-like expressions; may be passed on",
    ),
    "light-asd": Known(
        "Light-ASD weights", "a .model file of its folder weight",
        "code MIT; trained on AVA, VoxCeleb2 and LRS3, whose terms are their own",
        "git clone https://github.com/Junhua-Liao/Light-ASD", "one more hint who speaks", "weights",
    ),
    "lr-asd": Known(
        "LR-ASD weights", "a .model file of its folder weight",
        "code MIT; trained on AVA, VoxCeleb2 and LRS3, whose terms are their own",
        "git clone https://github.com/Junhua-Liao/LR-ASD", "one more hint who speaks", "weights",
    ),
    "pyannote": Known(
        "pyannote pipeline", "a folder with config.yaml", "as the model cards say",
        "https://huggingface.co/pyannote, models inside the folder: docs/packages.md",
        "speaker turns with overlaps", "pipelines",
    ),
    "face-recognition": Known(
        "ArcFace-like face recognition", "an .onnx file",
        "the file's own; InsightFace's models are for non-commercial research only", "bring your own",
        "links the faces of a person across cuts more surely: assign.recognition_weights", "",
    ),
    "silero": Known(
        "silero voice activity", "silero_vad.jit", "MIT", "pip install silero-vad", "finds speech", "",
    ),
    "ge2e": Known(
        "GE2E voice embedding", "pretrained.pt", "Apache-2.0", "pip install --no-deps resemblyzer==0.1.4",
        "tells voices apart; without it they are told apart by their spectrum", "",
    ),
}  # fmt: skip
"""By kind. Of FLAME there are as many kinds as releases, because their coefficients are not interchangeable."""

FLAME_FILES = {KNOWN[kind].file: kind for kind in ("flame2023_Open", "flame2023", "flame2023_no_jaw", "flame")}

COMPANIONS = {
    "FLAME_masks.pkl": "masks",
    "FLAME_texture.npz": "texture",
    "mediapipe_landmark_embedding.npz": "mediapipe_embedding",
    "landmark_embedding.npy": "landmark_embedding",
}
"""Files that belong beside a FLAME model; the values are ``load_flame``'s arguments and keys of ``KNOWN``."""
