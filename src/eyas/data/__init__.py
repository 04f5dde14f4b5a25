"""Data: from a source to verified files, an index of images in four disjoint splits, and tensors.

``sources`` brings files, ``formats`` reads them, ``split_assignment`` assigns each image, ``manifest`` and ``index``
record what is there, ``make_dataset`` joins these for the fetch stage, and ``dataset`` gives the other stages their
images.
"""

from typing import TYPE_CHECKING

from eyas.component import import_on_use

if TYPE_CHECKING:
    from eyas.data.dataset import Dataset, open_dataset
    from eyas.data.split import Split

__all__ = ["Dataset", "Split", "open_dataset"]

# Hidden from type checkers: with it in sight, every misspelt name would be taken for Any.
if not TYPE_CHECKING:
    __getattr__ = import_on_use(
        __name__,
        {
            "Dataset": "eyas.data.dataset",
            "Split": "eyas.data.split",
            "open_dataset": "eyas.data.dataset",
        },
    )
