"""Advisories in OSV's form. (ossf.github.io/osv-schema, 1.6)"""

import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from onggi.errors import InvalidParameter
from onggi.scan.advisories import MOST_CHARACTERS, Advisory, Range, Rating, Severity

MOST_DOCUMENT_BYTES = 8 << 20
_WORDS = {
    "CRITICAL": Severity.CRITICAL, "HIGH": Severity.HIGH, "IMPORTANT": Severity.HIGH, "MODERATE": Severity.MEDIUM,
    "MEDIUM": Severity.MEDIUM, "LOW": Severity.LOW, "UNIMPORTANT": Severity.NEGLIGIBLE, "NEGLIGIBLE": Severity.NEGLIGIBLE,
}  # fmt: skip


class _Event(msgspec.Struct):
    introduced: str = ""
    fixed: str = ""
    last_affected: str = ""


class _Range(msgspec.Struct):
    type: str
    events: list[_Event] = []


class _Severity(msgspec.Struct):
    type: str = ""
    score: str = ""


class _Package(msgspec.Struct):
    ecosystem: str = ""
    name: str = ""


class _Affected(msgspec.Struct):
    package: _Package | None = None
    ranges: list[_Range] = []
    versions: list[str] = []
    severity: list[_Severity] = []
    ecosystem_specific: dict[str, object] | None = None
    database_specific: dict[str, object] | None = None


class _Reference(msgspec.Struct):
    type: str = ""
    url: str = ""


class _Record(msgspec.Struct):
    id: str
    withdrawn: str = ""
    aliases: list[str] = []
    upstream: list[str] = []
    summary: str = ""
    details: str = ""
    severity: list[_Severity] = []
    affected: list[_Affected] = []
    references: list[_Reference] = []
    database_specific: dict[str, object] | None = None


_decoder = msgspec.json.Decoder(_Record)


class InvalidAdvisories(InvalidParameter):
    """A file that is not in the form it was said to be."""


def _word(*places: dict[str, object] | None) -> Severity:
    for place in places:
        for key in ("severity", "urgency"):
            word = (place or {}).get(key)
            if isinstance(word, str) and word.upper() in _WORDS:
                return _WORDS[word.upper()]
    return Severity.UNKNOWN


def _ranges(ranges: list[_Range]) -> list[Range]:
    """Events → intervals. Ranges of commits say nothing about versions."""
    found: list[Range] = []
    for each in ranges:
        if each.type == "GIT":
            continue
        introduced = ""
        for event in each.events:
            if event.introduced:
                if introduced:
                    found.append(Range(introduced))
                introduced = event.introduced
            elif event.fixed or event.last_affected:
                found.append(Range(introduced or "0", event.fixed, event.last_affected))
                introduced = ""
        if introduced:
            found.append(Range(introduced))
    return found


def read_record(data: bytes) -> Iterator[Advisory | Rating]:
    """One document. Raises InvalidAdvisories."""
    try:
        record = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise InvalidAdvisories(f"this is no advisory in OSV form: {error}") from error
    if record.withdrawn:
        return
    names = [record.id, *record.aliases, *record.upstream]
    problems = list(dict.fromkeys(name for name in names if name.startswith("CVE-"))) or [record.id]
    vectors = [each.score for each in record.severity if each.score]
    summary = (record.summary or record.details.partition("\n")[0])[:MOST_CHARACTERS]
    link = next((each.url for each in record.references if each.url.startswith("https://")), "")[:MOST_CHARACTERS]
    if vectors:
        for problem in problems if len(problems) == 1 else []:
            yield Rating(problem, vectors, summary)
    for affected in record.affected:
        if affected.package is None or not affected.package.name:
            continue
        own = [each.score for each in affected.severity if each.score]
        for problem in problems:
            yield Advisory(
                id=problem, ecosystem=affected.package.ecosystem, package=affected.package.name,
                aliases=[name for name in dict.fromkeys([record.id, *record.aliases]) if name != problem],
                ranges=_ranges(affected.ranges), versions=affected.versions,
                severity=_word(affected.ecosystem_specific, affected.database_specific, record.database_specific),
                vectors=own or vectors, summary=summary, link=link,
            )  # fmt: skip


def read(file: BinaryIO) -> Iterator[Advisory | Rating]:
    """A file of one document, of a list of them, of one a line, or a zip of such files, as OSV publishes them.

    Raises InvalidAdvisories.
    """
    start = file.read(4)
    file.seek(0)
    if start == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    if member.filename.endswith(".json"):
                        if member.file_size > MOST_DOCUMENT_BYTES:
                            raise InvalidAdvisories(f"{member.filename[:200]!r} is larger than an advisory may be")
                        yield from read_record(archive.read(member))
        except zipfile.BadZipFile as error:
            raise InvalidAdvisories(f"the archive of advisories is damaged: {error}") from error
        return
    data = file.read()
    if data.lstrip()[:1] == b"[":
        try:
            documents = msgspec.json.decode(data, type=list[msgspec.Raw])
        except msgspec.MsgspecError as error:
            raise InvalidAdvisories(f"this is no list of advisories: {error}") from error
        for document in documents:
            yield from read_record(bytes(document))
        return
    try:
        yield from read_record(data)
    except InvalidAdvisories:
        lines = [line for line in data.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        for line in lines:
            yield from read_record(line)
