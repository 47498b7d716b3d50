"""Writes a pyannote pipeline with random weights; run under the interpreter whose pyannote.audio shall read it.

python tiny_pyannote.py FOLDER PATH_OF_TORCHAUDIO_SHIM
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any


def make(folder: Path) -> None:
    """Segmentation and embedding networks of a few thousand weights, and the ``config.yaml`` of their pipeline."""
    import numpy as np
    import pyannote.audio
    import torch
    import yaml
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorMFCC
    from pyannote.audio.models.segmentation import PyanNet

    def save(model: Any, path: Path, **specifications: Any) -> None:
        model.specifications = Specifications(duration=5.0, **specifications)
        model.build()
        checkpoint: dict[str, Any] = {
            "state_dict": model.state_dict(),
            "hyper_parameters": dict(model.hparams),
            "pytorch-lightning_version": "2.0.0",
        }
        model.on_save_checkpoint(checkpoint)
        path.parent.mkdir(parents=True)
        torch.save(checkpoint, path)

    torch.manual_seed(0)
    lstm = {"hidden_size": 8, "num_layers": 1, "bidirectional": True}
    network = PyanNet(sincnet={"stride": 10}, lstm=lstm, linear={"hidden_size": 8, "num_layers": 1})
    save(
        network,
        folder / "segmentation-3.0" / "pytorch_model.bin",
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    embedding = {"problem": Problem.REPRESENTATION, "resolution": Resolution.CHUNK, "classes": ["a", "b"]}
    save(XVectorMFCC(dimension=16), folder / "wespeaker-tiny" / "pytorch_model.bin", **embedding)
    # Named as in the pipelines on the hub: by organisation and model, or from 4.x on by $model.
    params: dict[str, Any] = {
        "segmentation": "pyannote/segmentation-3.0",
        "embedding": "$model/wespeaker-tiny",
        "clustering": "AgglomerativeClustering",
        "segmentation_step": 0.5,
        "segmentation_batch_size": 4,
        "embedding_batch_size": 4,
    }
    if not pyannote.audio.__version__.startswith("3."):
        plda = folder / "plda"
        plda.mkdir()
        lda = np.random.default_rng(0).standard_normal((16, 8))
        np.savez(plda / "xvec_transform.npz", mean1=np.zeros(16), mean2=np.zeros(8), lda=lda)
        np.savez(plda / "plda.npz", mu=np.zeros(8), tr=np.eye(8), psi=np.linspace(2.0, 0.1, 8))
        params["plda"] = "$model/plda"
    clustering = {"method": "centroid", "min_cluster_size": 1, "threshold": 0.7}
    described = {
        "pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params},
        "params": {"segmentation": {"min_duration_off": 0.0}, "clustering": clustering},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(described))


if __name__ == "__main__":
    runpy.run_path(sys.argv[2])["install"]()
    make(Path(sys.argv[1]))
