"""A few images of a large source, without storing the rest.

The images with the smallest content hashes are known after looking at all of them once, in passing: a tree is streamed
file by file, a table row group by row group. What is kept gives the same data set as storing everything would.
"""

from pathlib import Path

from eyas.data.archives import is_archive
from eyas.data.formats import FormatChoice, choose_format
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.partitions import own_test_files
from eyas.data.remote_files import Remote, RemoteFiles


def fetch_subset(
    address: str,
    folder: Path,
    remote: Remote,
    *,
    max_images: int,
    format: FormatChoice,  # noqa: A002
    task: str = "classification",
    limits: Limits = DEFAULT_LIMITS,
) -> bool:
    """Put the ``max_images`` with the smallest content hashes into ``folder``; False where the source must be whole.

    That is an archive, a source with a test set of its own, and a format that does not stream.

    Raises:
        DataError: a table is damaged or holds more than ``limits`` allow, or a class lost all its images.
    """
    files = RemoteFiles.at(address, remote)
    if any(map(is_archive, files.names)):
        return False
    member = choose_format(format, files.names, folder.name, task)
    if any(own_test_files(folder.name, member.uses(files.names))):
        return False
    return member.write_subset(files, max_images, folder, limits)
