"""Data: from a source to verified files, an index of images in four disjoint splits, and tensors.

``sources`` brings files, ``formats`` reads them, ``split_assignment`` assigns each image, ``manifest`` and ``index``
record what is there, ``make_dataset`` joins these for the fetch stage, and ``dataset`` gives the other stages their
images.
"""

from eyas.data.dataset import Dataset, open_dataset
from eyas.data.split import Split

__all__ = ["Dataset", "Split", "open_dataset"]
