"""Against a server on the loopback interface that misbehaves on purpose."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from media_files import make_video

from dialogbuild.download import DownloadOptions, Source, download, read_records, read_sources
from dialogbuild.download.fetch import FetchError, fetch_http, fetch_ytdlp, has_extractor
from dialogbuild.download.sources import file_stem, safe_stem
from dialogbuild.errors import ConfigError

FAST = DownloadOptions(backoff_s=0.01, timeout_s=5)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    video = b""
    etag = '"v1"'
    cuts = 0  # how many more answers break off half way
    busy = 0  # how many more answers are 503
    ranges = True
    shift = 0  # bytes by which a range begins too late

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind = self.path.strip("/").split("/")[0].split("?")[0]
        self.server.log.append((self.path, self.headers["Range"]))
        if kind == "missing":
            self.reply(404, b"<html>not found</html>", "text/html")
        elif kind == "forbidden":
            self.reply(403, b"no", "text/plain")
        elif kind == "page":
            self.reply(200, b"<html>please log in</html>", "text/html; charset=utf-8")
        elif kind == "mislabelled":
            self.reply(200, b"<html>please log in</html>" * 100, "video/mp4")
        elif kind == "hop":
            self.reply(302, b"", "text/plain", Location="/good/real.mp4")
        elif kind == "escape":
            self.reply(302, b"", "text/plain", Location="file:///etc/passwd")
        elif kind == "short":
            self.reply(200, self.server.video[:5000], "video/mp4", length=len(self.server.video))
        elif self.server.busy > 0:
            self.server.busy -= 1
            self.reply(503, b"busy", "text/plain")
        else:
            self.serve_video()

    def serve_video(self) -> None:
        data, start, status = self.server.video, 0, 200
        tags = {"ETag": self.server.etag}
        if self.headers["Range"] and self.server.ranges and self.headers["If-Range"] in (None, self.server.etag):
            start, status = int(self.headers["Range"].removeprefix("bytes=").split("-")[0]) + self.server.shift, 206
            if start >= len(data):
                return self.reply(416, b"", "text/plain", **{"Content-Range": f"bytes */{len(data)}"})
            tags["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        if self.server.cuts > 0:
            self.server.cuts -= 1
            return self.reply(status, body[: len(body) // 2], "video/mp4", length=len(body), **tags)
        return self.reply(status, body, "video/mp4", **tags)

    def reply(self, status: int, body: bytes, kind: str, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        self.close_connection = True


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return make_video(
        tmp_path_factory.mktemp("download") / "clip.mp4", 75, chirps_s=[0.5], extra=("-movflags", "+faststart")
    )


@pytest.fixture
def server(video):
    server = Server()
    server.video = video.read_bytes()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def one(url: str, out: Path, options: DownloadOptions = FAST, **fields: str):
    (record,) = download([Source(url, **fields)], out, options)
    return record


def files(out: Path) -> list[str]:
    return sorted(p.name for p in out.iterdir() if p.is_file() and p.name != "sources.jsonl")


def test_a_video_is_saved_whole_with_its_hash_licence_and_origin(server, tmp_path):
    url = f"{server.url}/good/talk.mp4"
    record = one(url, tmp_path, licence="CC-BY-4.0", title="A talk", consent="form-7")
    assert (record.status, record.method, record.content_type, record.etag) == ("ok", "http", "video/mp4", '"v1"')
    assert record.sha256 == hashlib.sha256(server.video).hexdigest()
    assert (record.licence, record.title, record.consent) == ("CC-BY-4.0", "A talk", "form-7")
    assert (tmp_path / record.file).read_bytes() == server.video
    (line,) = (tmp_path / "sources.jsonl").read_text().splitlines()
    assert json.loads(line)["url"] == url
    assert list((tmp_path / ".parts").iterdir()) == []


def test_a_second_run_fetches_nothing(server, tmp_path):
    url = f"{server.url}/good/talk.mp4"
    first, before = one(url, tmp_path), (tmp_path / "sources.jsonl").read_bytes()
    server.log.clear()
    assert one(url, tmp_path) == first
    assert server.log == []
    assert (tmp_path / "sources.jsonl").read_bytes() == before


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_file_that_was_lost_or_cut_since_is_fetched_again(server, tmp_path, damage):
    url = f"{server.url}/good/talk.mp4"
    path = tmp_path / one(url, tmp_path).file
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(server.video[:100])
    assert one(url, tmp_path).status == "ok"
    assert path.read_bytes() == server.video


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    server.cuts = 2
    assert one(f"{server.url}/good/talk.mp4", tmp_path).status == "ok"
    size = len(server.video)
    assert [r for _, r in server.log] == [None, f"bytes={size // 2}-", f"bytes={size // 2 + (size - size // 2) // 2}-"]
    assert (tmp_path / files(tmp_path)[0]).read_bytes() == server.video


def test_what_one_run_could_not_finish_the_next_run_resumes(server, tmp_path):
    url, once = f"{server.url}/good/talk.mp4", replace(FAST, attempts=1)
    server.cuts = 1
    record = one(url, tmp_path, once)
    assert record.status == "failed"
    assert f"of {len(server.video)} bytes" in record.reason
    assert files(tmp_path) == []
    assert one(url, tmp_path, once).status == "ok"
    assert server.log[-1][1] == f"bytes={len(server.video) // 2}-"
    assert (tmp_path / files(tmp_path)[0]).read_bytes() == server.video


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_half(server, tmp_path):
    url, once = f"{server.url}/good/talk.mp4", replace(FAST, attempts=1)
    server.cuts = 1
    one(url, tmp_path, once)
    server.etag, server.video = '"v2"', make_video(tmp_path / "other.avi", 90, chirps_s=[1.0]).read_bytes()
    assert one(url, tmp_path, once).etag == '"v2"'
    assert (tmp_path / read_records(tmp_path)[0].file).read_bytes() == server.video


def test_a_range_that_begins_elsewhere_than_asked_is_not_used(server, tmp_path):
    url, once = f"{server.url}/good/talk.mp4", replace(FAST, attempts=1)
    server.cuts = 1
    one(url, tmp_path, once)
    server.shift = 7
    record = one(url, tmp_path, once)
    assert record.status == "failed"
    assert "the server sent 'bytes" in record.reason
    server.shift = 0
    assert one(url, tmp_path, once).sha256 == hashlib.sha256(server.video).hexdigest()


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.cuts, server.ranges = 1, False
    assert one(f"{server.url}/good/talk.mp4", tmp_path).status == "ok"
    assert (tmp_path / files(tmp_path)[0]).read_bytes() == server.video


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    part = tmp_path / "part"
    part.write_bytes(b"x" * (len(server.video) + 5))
    url = f"{server.url}/good/talk.mp4"
    tags = {"url": url, "etag": '"v1"', "last_modified": None, "total": None}
    (tmp_path / "part.json").write_text(json.dumps(tags))
    assert fetch_http(url, part, backoff_s=0.01).path.read_bytes() == server.video


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.busy = 2
    assert one(f"{server.url}/good/talk.mp4", tmp_path).status == "ok"


def test_a_body_that_always_ends_early_is_never_saved(server, tmp_path):
    record = one(f"{server.url}/short/talk.mp4", tmp_path)
    assert record.status == "failed"
    assert "connection ended after 5000" in record.reason
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "reason", "values"),
    [
        ("missing/talk.mp4", "dead_link", {"http_status": 404}),
        ("page/talk.mp4", "not_a_video", {"content_type": "text/html", "http_status": 200}),
    ],
)
def test_an_error_page_is_rejected_not_saved(server, tmp_path, path, reason, values):
    record = one(f"{server.url}/{path}", tmp_path)
    assert (record.status, record.reason, record.values) == ("rejected", reason, values)
    assert files(tmp_path) == []
    server.log.clear()
    assert one(f"{server.url}/{path}", tmp_path) == record
    assert server.log == [], "a verdict stands"
    one(f"{server.url}/{path}", tmp_path, replace(FAST, retry_rejected=True))
    assert server.log != []


def test_a_page_that_calls_itself_a_video_is_found_out(server, tmp_path):
    record = one(f"{server.url}/mislabelled/talk.mp4", tmp_path)
    assert (record.status, record.reason, record.content_type) == ("rejected", "not_a_video", "video/mp4")
    assert files(tmp_path) == []
    assert list((tmp_path / ".parts").iterdir()) == []


def test_a_complete_download_of_a_cut_video_is_rejected_as_truncated(server, tmp_path):
    server.video = server.video[:3000]
    record = one(f"{server.url}/good/talk.mp4", tmp_path)
    assert (record.status, record.reason) == ("rejected", "truncated")


def test_a_refusal_fails_at_once_and_is_tried_again_next_time(server, tmp_path):
    record = one(f"{server.url}/forbidden/talk.mp4", tmp_path)
    assert (record.status, record.reason) == ("failed", "HTTP 403 Forbidden")
    assert len(server.log) == 1
    one(f"{server.url}/forbidden/talk.mp4", tmp_path)
    assert len(server.log) == 2


def test_redirects_are_followed_but_never_to_a_local_file(server, tmp_path):
    assert one(f"{server.url}/hop/talk.mp4", tmp_path).status == "ok"
    record = one(f"{server.url}/escape/talk.mp4", tmp_path)
    assert record.status == "failed"
    assert "302" in record.reason
    assert len(files(tmp_path)) == 1


def test_a_dead_host_fails_with_its_reason(tmp_path):
    record = one("http://127.0.0.1:9/talk.mp4", tmp_path, replace(FAST, attempts=2))
    assert record.status == "failed"
    assert "refused" in record.reason
    assert "2 tries" in record.reason


def test_a_wrong_hash_is_rejected_and_the_right_one_kept(server, tmp_path):
    url = f"{server.url}/good/talk.mp4"
    record = one(url, tmp_path, sha256="0" * 64)
    assert (record.status, record.reason) == ("rejected", "sha256_mismatch")
    assert record.values["found"] == hashlib.sha256(server.video).hexdigest()
    assert one(url, tmp_path, sha256=record.values["found"].upper()).status == "ok"


@pytest.mark.parametrize(
    "name",
    [
        "../../escaped",
        "/etc/passwd",
        "..",
        "a/../../b.mp4",
        "..\\..\\b",
        ".hidden",
        "C:\\x",
        "a\0b",
        "x" * 300,
        "\u202egpj",
        "-rf",
    ],
)
def test_no_name_leads_out_of_the_folder(server, tmp_path, name):
    out = tmp_path / "deep" / "out"
    record = one(f"{server.url}/good/talk.mp4", out, name=name)
    assert record.status == "ok"
    assert files(out) == [record.file]
    assert "/" not in record.file
    assert record.file[0] not in ".-"
    assert len(record.file) < 100
    assert sorted(p.name for p in tmp_path.rglob("*.mp4")) == [record.file]


def test_no_path_of_a_url_leads_out_of_the_folder(server, tmp_path):
    record = one(f"{server.url}/good/..%2F..%2F..%2Fescaped.mp4?x=/../../y", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*.mp4")) == [record.file]


def test_equal_last_parts_of_different_urls_do_not_collide(server, tmp_path):
    records = download([Source(f"{server.url}/{x}/talk.mp4") for x in ("a", "b")], tmp_path, FAST)
    assert len({r.file for r in records}) == 2
    assert all(r.file.startswith("talk-") for r in records)


def test_a_name_that_an_earlier_list_used_is_refused_before_anything_is_fetched(server, tmp_path):
    one(f"{server.url}/a/talk.mp4", tmp_path, name="talk")
    server.log.clear()
    with pytest.raises(ConfigError, match="would be called 'Talk'"):
        one(f"{server.url}/b/talk.mp4", tmp_path, name="Talk")
    assert server.log == []


def test_a_corrected_list_changes_licence_and_name_without_fetching(server, tmp_path):
    url = f"{server.url}/good/talk.mp4"
    one(url, tmp_path, licence="unknown")
    server.log.clear()
    record = one(url, tmp_path, licence="CC0-1.0", name="renamed")
    assert (record.licence, record.file, server.log) == ("CC0-1.0", "renamed.mp4", [])
    assert files(tmp_path) == ["renamed.mp4"]
    assert read_records(tmp_path) == [record]


@pytest.mark.parametrize("link", [True, False])
def test_local_files_are_linked_or_copied_and_left_as_they_are(video, tmp_path, link):
    before = video.read_bytes()
    record = one(video.as_uri(), tmp_path, replace(FAST, link=link))
    copy = tmp_path / record.file
    assert (record.status, record.method) == ("ok", "file")
    assert copy.read_bytes() == before == video.read_bytes()
    assert copy.samefile(video) == link


def test_a_rejected_local_file_stays_where_it_was(tmp_path):
    original = tmp_path / "notes.mp4"
    original.write_text("no film\n" * 100)
    record = one(original.as_uri(), tmp_path / "out")
    assert (record.status, record.reason) == ("rejected", "not_a_video")
    assert original.read_text().startswith("no film")


@pytest.mark.parametrize("name", ["absent.mp4", "."])
def test_a_local_source_that_is_no_file_fails(tmp_path, name):
    record = one((tmp_path / name).as_uri(), tmp_path / "out")
    assert record.status == "failed"
    assert "no file at" in record.reason


def test_one_bad_source_does_not_stop_the_others_and_all_are_recorded(server, video, tmp_path):
    urls = [f"{server.url}/missing/x.mp4", video.as_uri(), f"{server.url}/forbidden/x.mp4", f"{server.url}/good/x.mp4"]
    records = download([Source(u) for u in urls], tmp_path, FAST)
    assert [r.status for r in records] == ["rejected", "ok", "failed", "ok"]
    assert [r.url for r in records] == urls
    assert [r.url for r in read_records(tmp_path)] == sorted(urls)


def test_a_journal_cut_off_by_a_crash_loses_at_most_its_last_line(server, tmp_path):
    urls = [f"{server.url}/{x}/talk.mp4" for x in "abc"]
    download([Source(u) for u in urls[:2]], tmp_path, FAST)
    journal = tmp_path / "sources.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    server.log.clear()
    download([Source(u) for u in urls], tmp_path, FAST)
    assert len(server.log) == 2
    assert {r.url: r.status for r in read_records(tmp_path)} == dict.fromkeys(urls, "ok")


@pytest.mark.parametrize("torn", [False, True])
def test_an_interrupted_run_keeps_what_it_had(server, tmp_path, monkeypatch, torn):
    import dialogbuild.download as module

    real, seen = module._fetch_one, []
    if torn:
        (tmp_path / "sources.jsonl").write_text('{"url": "http://x.org/cut off by a cra')

    def stop_at_second(source, *rest):
        seen.append(source)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(source, *rest)

    monkeypatch.setattr(module, "_fetch_one", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        download([Source(f"{server.url}/{x}/talk.mp4") for x in "ab"], tmp_path, FAST)
    assert [r.status for r in read_records(tmp_path)] == ["ok"]


def test_ytdlp_fetches_through_the_same_checks(server, tmp_path):
    record = one(f"{server.url}/good/talk.mp4", tmp_path / "50% done", method="yt-dlp", name="clip")
    assert (record.status, record.method, record.file) == ("ok", "yt-dlp", "clip.mp4")
    assert (tmp_path / "50% done" / "clip.mp4").read_bytes() == server.video


def test_a_ytdlp_failure_is_a_failure_with_its_message(server, tmp_path):
    with pytest.raises(FetchError, match=r"yt-dlp: .*404"):
        fetch_ytdlp(f"{server.url}/missing/x", tmp_path / "x", 720, 5, 1)


def test_sites_that_ytdlp_knows_are_told_from_plain_links():
    assert has_extractor("https://www.youtube.com/watch?v=abcdefghijk")
    assert not has_extractor("https://example.org/files/42")


CSV = "url,name,license,title,consent,channel\n{url},one,CC0-1.0,,form-1,News\nlocal clip.mp4,,,,,\n"


def test_a_csv_list_is_read_with_its_extra_columns(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("\ufeff" + CSV.format(url="https://a.org/x.mp4"), encoding="utf-8")
    first, second = read_sources(path)
    assert first == Source("https://a.org/x.mp4", "one", "CC0-1.0", None, "form-1", extra={"channel": "News"})
    assert second == Source((tmp_path / "local clip.mp4").as_uri())


def test_a_text_list_holds_addresses_paths_and_comments(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# sources\nhttps://a.org/x.mp4?a=1#frag\n\nsub/clip.mp4\n/abs/clip.mp4\n")
    assert [s.url for s in read_sources(path)] == [
        "https://a.org/x.mp4?a=1#frag",
        (tmp_path / "sub/clip.mp4").as_uri(),
        "file:///abs/clip.mp4",
    ]


def test_a_jsonl_list_is_read_and_its_own_records_can_be_a_list_again(server, tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text(json.dumps({"url": f"{server.url}/good/talk.mp4", "licence": "CC0-1.0", "year": 2020}) + "\n")
    (source,) = read_sources(path)
    assert source.extra == {"year": 2020}
    (record,) = download(path, tmp_path / "out", FAST)
    assert (record.status, record.licence, record.extra) == ("ok", "CC0-1.0", {"year": 2020})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "holds no source"),
        ("a.csv", "name\nx\n", "line 2: no url"),
        ("a.csv", "url\nftp://a.org/x.mp4\n", "scheme 'ftp'"),
        ("a.txt", "https://a.org/x.mp4\nhttps://a.org/x.mp4\n", "listed 2 times"),
        ("a.csv", "url,name\nhttps://a.org/x.mp4,clip\nhttps://a.org/y.mp4,CLIP.mp4\n", "would be called 'clip'"),
        (
            "a.jsonl",
            '{"url": "https://a.org/x.mp4"\n[1]\n{"url": 3}\n',
            "line 1: not JSON.*line 2: not a JSON object.*line 3",
        ),
        ("a.csv", "url,method\nhttps://a.org/x.mp4,magic\n", "method 'magic'"),
        ("a.jsonl", '{"url": "https://a.org/x.mp4", "licence": ["x"]}\n', "licence must be text"),
    ],
)
def test_a_wrong_list_is_refused_with_every_fault_and_its_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_sources(tmp_path / name)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no source list"):
        download(tmp_path / "absent.csv", tmp_path)


def test_stems_are_stable_short_and_never_empty():
    assert safe_stem("Ünïcode & Spaces!.mp4") == "n_code_Spaces_.mp4"
    assert safe_stem("...") == "video"
    assert file_stem(Source("https://a.org/v/talk.one.mp4")).startswith("talk.one-")
    assert file_stem(Source("https://a.org/")) != file_stem(Source("https://b.org/"))
    assert file_stem(Source("https://a.org/x", name="My Clip.MP4")) == "My_Clip"
