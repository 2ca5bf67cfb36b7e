"""`system df`: the disk that images, containers, volumes and the build cache take."""

import sys

from onggi import durations
from onggi.cli import units
from onggi.cli.output import Listing, align, render, safe
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

HEADERS = {"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"}
_ACTIVE = ("running", "paused", "restarting")


def _reclaimable(part: int, whole: int) -> str:
    text = units.decimal(part)
    return f"{text} ({part * 100 // whole}%)" if whole > 0 else text


def _line(kind: str, total: int, active: int, size: int, reclaimable: str) -> "dict[str, str]":
    return {
        "Type": kind, "TotalCount": str(total), "Active": str(active), "Size": units.decimal(size),
        "Reclaimable": reclaimable,
    }  # fmt: skip


def _images(usage: "dict[str, Any]") -> "dict[str, str]":
    images = usage.get("Images") or ()
    whole = usage.get("LayersSize") or 0
    used = sum(
        image["Size"] - image["SharedSize"]
        for image in images
        if image.get("Containers") and image["Size"] != -1 and image.get("SharedSize", -1) != -1
    )
    active = sum((image.get("Containers") or 0) > 0 for image in images)
    return _line("Images", len(images), active, whole, _reclaimable(whole - used, whole))


def _containers(usage: "dict[str, Any]") -> "dict[str, str]":
    containers = usage.get("Containers") or ()
    sizes = [(container.get("SizeRw") or 0, container.get("State") in _ACTIVE) for container in containers]
    whole = sum(size for size, _ in sizes)
    free = sum(size for size, active in sizes if not active)
    active = sum(active for _, active in sizes)
    return _line("Containers", len(sizes), active, whole, _reclaimable(free, whole))


def _volumes(usage: "dict[str, Any]") -> "dict[str, str]":
    known = [volume.get("UsageData") or {} for volume in usage.get("Volumes") or ()]
    whole = sum(data.get("Size", 0) for data in known if data.get("Size", -1) != -1)
    free = sum(data.get("Size", 0) for data in known if data.get("Size", -1) != -1 and not data.get("RefCount"))
    active = sum(data.get("RefCount", 0) > 0 for data in known)
    return _line("Local Volumes", len(known), active, whole, _reclaimable(free, whole))


def _cache(usage: "dict[str, Any]") -> "dict[str, str]":
    records = usage.get("BuildCache") or ()
    size = sum(record["Size"] for record in records if not record.get("Shared"))
    free = sum(record["Size"] for record in records if not record.get("Shared") and not record.get("InUse"))
    active = sum(bool(record.get("InUse")) for record in records)
    return _line("Build Cache", len(records), active, size, units.decimal(free))


def _row_type() -> RowType:
    fields: dict[str, Callable[[Any], Any]] = {name: (lambda line, name=name: line[name]) for name in HEADERS}  # type: ignore[misc]
    return RowType("*formatter.diskUsageContext", fields)


def df(invocation: "Invocation", found: "Arguments") -> int:
    usage = invocation.client.get("/system/df")
    form = found.text("format")
    if found.flag("verbose") and not form:
        sys.stdout.write(_verbose(usage))
        return 0
    lines = [_images(usage), _containers(usage), _volumes(usage), _cache(usage)]
    sys.stdout.write(render(Listing(_row_type(), HEADERS, tuple(HEADERS)), lines, form))
    return 0


def _table(kind: RowType, headers: "dict[str, str]", columns: "Sequence[str]", rows: "Sequence[Any]") -> str:
    lines = [[headers[name] for name in columns]]
    lines += [[safe(str(kind.fields[name](row))) for name in columns] for row in rows]
    return align(lines)


def _verbose(usage: "dict[str, Any]") -> str:
    from onggi.cli.commands import images, ps, volume

    rows = [
        line
        for image in usage.get("Images") or ()
        if image.get("RepoTags") or image.get("RepoDigests") or not image.get("ParentId")
        for line in list(images.lines(image, digests=False))[:1]
    ]
    columns = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
    text = "Images space usage:\n\n" + _table(images.row_type(whole=False), images.HEADERS, columns, rows)
    columns = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
    text += "\nContainers space usage:\n\n"
    containers = [{**container, "SizeRootFs": 0} for container in usage.get("Containers") or ()]
    text += _table(ps.row_type(whole=False), ps.HEADERS, columns, containers)
    text += "\nLocal Volumes space usage:\n\n"
    text += _table(volume.row_type(), volume.HEADERS, ("Name", "Links", "Size"), usage.get("Volumes") or ())
    text += f"\nBuild cache usage: {_cache(usage)['Size']}\n\n"
    heads = ["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"]
    return text + align([heads, *[_record(record) for record in usage.get("BuildCache") or ()]]) + "\n"


def _record(record: "dict[str, Any]") -> "list[str]":
    from onggi.cli import times

    def ago(text: str) -> str:
        return durations.in_words(times.ago(times.parse(text)[0])) + " ago" if text else ""

    return [
        record["ID"][:12] + ("*" if record.get("InUse") else ""), record.get("Type", ""),
        units.decimal(record["Size"], 3), ago(record.get("CreatedAt") or ""), ago(record.get("LastUsedAt") or ""),
        str(record.get("UsageCount", 0)), "true" if record.get("Shared") else "false",
    ]  # fmt: skip
