"""The report says what became of the face tracks."""

import json
from pathlib import Path

from dialogbuild.report import write_report
from dialogbuild.report.people import MEANING, link_rows
from dialogbuild.report.records import to_records


def outcomes(root: Path) -> list[dict[str, object]]:
    links = [
        {
            "linked": {"tracks": 4, "seconds": 20.0},
            "ambiguous": {"tracks": 1, "seconds": 2.5},
            "least_confidence": 0.97,
        },
        {"linked": {"tracks": 2, "seconds": 9.0}, "photo": {"tracks": 1, "seconds": 6.0}, "least_confidence": 0.99},
    ]
    rows: list[dict[str, object]] = []
    for k, content in enumerate(links):
        folder = root / f"a{k}"
        folder.mkdir(parents=True)
        (folder / "assign.json").write_text(json.dumps({"posterior": 1.0, "links": content}))
        rows.append({"stage": "assign", "item": f"v{k}", "status": "ok", "unit": "video", "path": str(folder)})
    rejected = {"stage": "assign", "item": "v9", "status": "rejected", "reason": "ambiguous_people", "unit": "video"}
    return [*rows, rejected]


def test_tracks_add_up_over_videos_and_keep_their_reasons(tmp_path: Path) -> None:
    rows = {row.reason: row for row in link_rows(to_records(outcomes(tmp_path)))}
    assert list(rows) == ["linked", "ambiguous", "photo"]
    assert (rows["linked"].videos, rows["linked"].tracks, rows["linked"].seconds) == (2, 6, 29.0)
    assert (rows["ambiguous"].videos, rows["ambiguous"].tracks) == (1, 1)
    assert all(row.meaning == MEANING[row.reason] for row in rows.values())


def test_an_artefact_of_an_older_version_has_no_links_and_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "assign.json").write_text(json.dumps({"posterior": 1.0}))
    old = {"stage": "assign", "item": "v", "status": "ok", "unit": "video", "path": str(tmp_path)}
    assert link_rows(to_records([old])) == []


def test_ambiguous_tracks_are_on_the_page(tmp_path: Path) -> None:
    write_report(tmp_path / "work", outcomes(tmp_path), tmp_path / "dataset", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert 'id="faces"' in page
    assert "<td>ambiguous</td>" in page
    assert MEANING["ambiguous"] in page
