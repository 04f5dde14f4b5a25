"""Which requests to disturb, and how often."""

from pathlib import Path

import pytest

from eyas.errors import StorageError

PART = 5 * 2**20
ALWAYS = 10_000


def is_range(request) -> bool:
    return request.method == "GET" and "Range" in request.headers


def is_part(request) -> bool:
    return request.method == "PUT" and "partNumber" in request.path


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def break_second_part(s3, source: Path) -> None:
    """Leave an unfinished upload behind."""
    s3.proxy.add("cut_request", match=lambda r: is_part(r) and "partNumber=2" in r.path, times=ALWAYS)
    with pytest.raises(StorageError, match="gave up"):
        s3.store(concurrency=1).upload(source, s3.address("up"))
    s3.proxy.faults.clear()
    s3.proxy.requests.clear()
