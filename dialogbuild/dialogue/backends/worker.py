"""Runs one pyannote pipeline on one recording, under any interpreter that has pyannote.audio 3.4 or 4.x.

    python -I worker.py --pipeline DIR --audio sound.wav --max-speakers 2 --rttm turns.rttm --facts facts.json

Knows nothing of the rest of the package: the interpreter may be another environment's. Nothing is downloaded and no
token is used: every model that ``config.yaml`` names must lie in its folder. Ends with status 3 where the environment
or the pipeline is at fault, so that no other recording would fare better.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import wave
from contextlib import nullcontext
from pathlib import Path
from typing import Any

SETUP_FAULT = 3
_MODELS = ("segmentation", "embedding", "plda")  # parameters of pyannote's pipelines that name files
_WEIGHTS = "pytorch_model.bin"


class SetupFaultError(Exception):
    """The environment or the pipeline is at fault; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Run as the module's docstring says; the exit status."""
    parser = argparse.ArgumentParser()
    for name in ("--pipeline", "--audio", "--rttm", "--facts"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--max-speakers", type=int, required=True)
    args = parser.parse_args(arguments)
    os.environ.update(HF_HUB_OFFLINE="1", PYANNOTE_METRICS_ENABLED="0")  # read once, when pyannote is imported
    with tempfile.TemporaryDirectory(prefix="pyannote-") as scratch:  # its name decides how 3.4 reads an embedding
        try:
            shim, version = import_pyannote()
            pipeline = load_pipeline(args.pipeline, Path(scratch), version)
        except SetupFaultError as error:
            sys.stderr.write(f"{error}\n")
            return SETUP_FAULT
        answer = pipeline(read_waveform(args.audio), max_speakers=args.max_speakers)
    said = getattr(answer, "speaker_diarization", answer)  # 4.x wraps it
    lines = [
        f"SPEAKER audio 1 {turn.start:.3f} {turn.duration:.3f} <NA> <NA> {'_'.join(str(label).split())} <NA> <NA>\n"
        for turn, _, label in said.itertracks(yield_label=True)
    ]
    args.rttm.write_text("".join(lines), encoding="utf-8")
    args.facts.write_text(json.dumps({"pyannote_audio": version, "torchaudio": shim}))
    return 0


def import_pyannote() -> tuple[str, str]:
    """Import pyannote.audio; what had to be done for torchaudio, and pyannote.audio's version.

    Raises:
        SetupFaultError: it cannot be imported.
    """
    spec = importlib.util.spec_from_file_location("torchaudio_shim", Path(__file__).parents[1] / "torchaudio_shim.py")
    assert spec is not None
    assert spec.loader is not None
    shim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shim)
    try:
        how = str(shim.install())
        version = str(importlib.import_module("pyannote.audio").__version__)
    except Exception as error:
        raise SetupFaultError(
            f"pyannote.audio cannot be imported by {sys.executable}: {type(error).__name__}: {error}"
        ) from None
    importlib.import_module("torch").set_num_threads(1)  # one process per core is what the caller counts on
    return how, version


def load_pipeline(folder: Path, scratch: Path, version: str) -> Any:
    """The pipeline of a folder, with every model taken from that folder.

    Raises:
        SetupFaultError: it names a model that is not there, or classes that are not pyannote's, or does not load.
    """
    folder = Path(os.path.abspath(folder))
    yaml = importlib.import_module("yaml")
    torch = importlib.import_module("torch")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    try:
        described = config["pipeline"]
        name, params = str(described["name"]), dict(described.get("params") or {})
    except (TypeError, KeyError):
        raise SetupFaultError(f"{folder / 'config.yaml'} describes no pipeline") from None
    if not name.startswith("pyannote.audio.pipelines.") or config.get("preprocessors"):
        raise SetupFaultError(f"{folder / 'config.yaml'}: only plain pyannote.audio pipelines are run, not {name}")
    for key in _MODELS:
        if params.get(key) is not None:
            params[key] = str(_local_model(folder, key, params[key], scratch))
    described["params"] = params
    (scratch / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    allow = getattr(torch.serialization, "safe_globals", lambda _: nullcontext())
    try:
        with allow(_plain_data_classes()):
            for key in ("segmentation", "embedding"):
                if key in params:
                    _check_architecture(torch, Path(params[key]))
            pipeline = importlib.import_module("pyannote.audio").Pipeline.from_pretrained(
                scratch / "config.yaml" if version.startswith("3.") else scratch
            )
    except SetupFaultError:
        raise
    except Exception as error:
        raise SetupFaultError(f"{folder}: the pipeline does not load: {type(error).__name__}: {error}") from None
    if pipeline is None:
        raise SetupFaultError(f"{folder}: the pipeline does not load")
    return pipeline


def _local_model(folder: Path, key: str, named: Any, scratch: Path) -> Path:
    """A model that ``config.yaml`` names, linked under ``scratch``: a name on a hub is looked for by its last part.

    Its place must lie in the folder; it may be a link, as in a hub's cache.
    """
    text = str(named).replace("$model", str(folder))
    places = [Path(os.path.normpath(folder / part)) for part in (text, Path(text).name)]
    found = next((place for place in places if folder in place.parents and place.exists()), None)
    if found is None:
        raise SetupFaultError(
            f"{folder / 'config.yaml'} names {key} {str(named)!r}, which is not in its folder; "
            f"put that model at {folder / Path(text).name}"
        )
    if found.is_dir() and key != "plda":
        found = found / _WEIGHTS
        if not found.is_file():
            raise SetupFaultError(f"{found} does not exist; it should hold the weights of {key} {str(named)!r}")
    link = scratch / key / found.name
    link.parent.mkdir(parents=True)
    link.symlink_to(found.resolve(), target_is_directory=found.is_dir())
    return link


def _check_architecture(torch: Any, path: Path) -> None:
    """A checkpoint names the class that is imported to hold it: only pyannote's own."""
    if path.suffix != ".bin":
        return
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    module = str(checkpoint["pyannote.audio"]["architecture"]["module"])
    if not module.startswith("pyannote.audio."):
        raise SetupFaultError(f"{path.name} wants the class {module}, which is not pyannote's")


def _plain_data_classes() -> list[Any]:
    """What pyannote's checkpoints hold beside tensors: descriptions that run no code when they are unpickled."""
    wanted = {
        "torch.torch_version": ("TorchVersion",),
        "pyannote.audio.core.task": ("Specifications", "Problem", "Resolution"),
        "pyannote.audio.core.model": ("Introspection",),
        "omegaconf.listconfig": ("ListConfig",),
        "omegaconf.dictconfig": ("DictConfig",),
        "omegaconf.base": ("ContainerMetadata", "Metadata"),
        "omegaconf.nodes": ("AnyNode",),
        "typing": ("Any",),
        "collections": ("defaultdict", "OrderedDict"),
        "builtins": ("list", "dict", "int"),
    }
    found = []
    for module, names in wanted.items():
        if importlib.util.find_spec(module.split(".")[0]) is not None:
            held = importlib.import_module(module)
            found += [getattr(held, name) for name in names if hasattr(held, name)]
    return found


def read_waveform(path: Path) -> dict[str, Any]:
    """A mono 16-bit WAV as the waveform that pyannote takes, so that no audio library has to load."""
    torch = importlib.import_module("torch")
    with wave.open(str(path), "rb") as sound:
        data = bytearray(sound.readframes(sound.getnframes()))
        rate = sound.getframerate()
    waveform = torch.frombuffer(data, dtype=torch.int16).float().div_(32768.0)[None]
    return {"waveform": waveform, "sample_rate": rate, "uri": "audio"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
