"""``meta/croissant.json``: the dataset described for machines, in Croissant 1.1 with its responsible-AI extension.

Every shard, table and manifest is a ``FileObject`` with its SHA-256; every table of the schema is a ``RecordSet`` whose
fields carry type, shape, unit and meaning. All of it is driven by ``schema.TABLES`` and the commit's files. The shards
of a family form a ``FileSet``, because a glob would also match what older commits left in the folder.
Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from dialogbuild import __version__
from dialogbuild.dataset.card import CITATION, TITLE, licences, limits, summary
from dialogbuild.dataset.commit import Entry
from dialogbuild.dataset.schema import FAMILIES, RELATIONS, TABLE_NAME, TABLES, Column, Table

_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MIME: Final = {
    ".parquet": "application/x-parquet",
    ".jsonl": "application/jsonlines",
    ".json": "application/json",
    ".md": "text/markdown",
}
_TYPES: Final = {
    "string": "sc:Text",
    "binary": "sc:Text",  # Croissant has no type for bytes
    "bool": "sc:Boolean",
    "int8": "cr:Int8",
    "int16": "cr:Int16",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "uint32": "cr:UInt32",
    "float32": "cr:Float32",
    "float64": "cr:Float64",
}


def croissant(
    facts: Mapping[str, Any],
    rights: Mapping[str, Mapping[str, str]],
    files: Mapping[str, Entry],
    version: str,
) -> dict[str, Any]:
    """The description as a JSON-LD record.

    Args:
        facts: content of ``meta/info.json``.
        rights: video id -> licence and consent_ref.
        files: logical name -> entry, of everything that the commit will hold besides this file.
        version: hex digits that stand for the content.

    Addresses are relative to ``meta/``. ``url``, ``creator`` and ``datePublished`` are for whoever publishes the
    dataset: they are facts of the publication, and the same clips must give the same bytes.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": TITLE,
        "description": f"{summary(facts)} Every file's SHA-256 is in the record that CURRENT names.",
        "license": licences(rights) or ["unknown"],
        "version": f"{facts['format_version']}+{version}",
        "citeAs": CITATION,
        "keywords": ["dialogue", "talking head", "FLAME", "speech", "video", "3D face"],
        **_responsible(facts, rights),
        "distribution": [*_file_objects(files), *_file_sets(files)],
        "recordSet": _record_sets(files, facts),
    }


def _responsible(facts: Mapping[str, Any], rights: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    unknown = sum(r["consent_ref"] == "unknown" for r in rights.values())
    head = facts["head_model"]
    return {
        "rai:dataCollection": "Videos named in a source list; licence and consent reference are kept per video "
        "(tables/videos.parquet).",
        "rai:dataCollectionType": ["Secondary Data analysis"],
        "rai:dataPreprocessingProtocol": [
            "Shots, face tracks, landmarks, diarization, assignment of voices to faces, clips of two persons, a 25 fps "
            "timeline, 16 kHz sound."
        ],
        "rai:dataAnnotationProtocol": [
            "Automatic. 3D heads are fitted to pixels and landmarks, with posterior standard deviations per row."
        ],
        "rai:machineAnnotationTools": [
            f"dialogbuild {__version__}",
            *([f"head model {head['model_id']} ({head['licence']})"] if head else []),
        ],
        "rai:dataLimitations": list(limits(facts)),
        "rai:personalSensitiveInformation": [
            "Faces and voices of the people in the videos. Identities are told apart within a video, never named and "
            f"never recognised across videos. Consent reference missing for {unknown} of {len(rights)} videos."
        ],
        "rai:dataReleaseMaintenancePlan": "A withdrawn video or person is removed by a new commit and a purge of the "
        "old ones; copies that others made must follow the newest commit.",
    }


def _file_objects(files: Mapping[str, Entry]) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": f"../{name}",
            "contentSize": f"{entry.bytes} B",
            "encodingFormat": _MIME.get(PurePosixPath(name).suffix, "application/octet-stream"),
            "sha256": entry.sha256,
        }
        for name, entry in sorted(files.items())
        if not name.startswith("media/")
    ]


def _shards(files: Mapping[str, Entry], family: str) -> list[str]:
    return sorted(name for name in files if name.startswith(f"frames/{family}/"))


def _file_sets(files: Mapping[str, Entry]) -> list[dict[str, Any]]:
    frames = [
        {
            "@type": "cr:FileSet",
            "@id": f"{family.name}-shards",
            "name": f"{family.name}-shards",
            "description": f"all frames/{family.name} files of this commit, in any order",
            "containedIn": [{"@id": shard} for shard in shards],
            "encodingFormat": _MIME[".parquet"],
            "includes": "*.parquet",
        }
        for family in FAMILIES
        if (shards := _shards(files, family.name))
    ]
    about = "; one file per content, named by tracks.{}; SHA-256 in the commit record"
    media = [
        {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": meaning + about.format(column),
            "encodingFormat": mime,
            "includes": f"../media/*{suffix}",
        }
        for name, suffix, mime, column, meaning in (
            ("crop-videos", ".mp4", "video/mp4", "video_file", "512x512 face crops, a frame per tick"),
            ("sound", ".flac", "audio/flac", "audio_file and mix_file", "16 kHz mono sound, per person and mixed"),
        )
    ]
    return frames + media


def _record_sets(files: Mapping[str, Entry], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    sources = {t.name: {"fileObject": {"@id": TABLE_NAME.format(table=t.name)}} for t in RELATIONS}
    sources |= {f.name: {"fileSet": {"@id": f"{f.name}-shards"}} for f in FAMILIES if _shards(files, f.name)}
    version = facts["format_version"]
    return [_record_set(TABLES[name].at(version), source, facts["widths"]) for name, source in sources.items()]


def _record_set(table: Table, source: Mapping[str, Any], widths: Mapping[str, int]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.meaning,
        "key": [{"@id": f"{table.name}/{column}"} for column in table.key],
        "field": [_field(table, column, source, widths) for column in table.columns],
    }


def _field(table: Table, c: Column, source: Mapping[str, Any], widths: Mapping[str, int]) -> dict[str, Any]:
    k = widths[c.width] if isinstance(c.width, str) else c.width
    shape = {"isArray": True, "arrayShape": str(k)} if k and c.dtype != "binary" else {}
    return {
        "@type": "cr:Field",
        "@id": f"{table.name}/{c.name}",
        "name": c.name,
        "description": c.meaning + (f" [{c.unit}]" if c.unit else ""),
        "dataType": _TYPES[c.dtype],
        **shape,
        "source": {**source, "extract": {"column": c.name}},
    }
