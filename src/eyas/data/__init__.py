"""Data: from a source to verified files, an index of images in four disjoint splits, and tensors.

``sources`` brings files, ``formats`` reads them, ``splits`` assigns each image, ``manifest`` records what is there,
``build`` joins these for the fetch stage, and ``dataset`` gives the other stages their images.
"""

from eyas.data.dataset import Dataset, Split, open_dataset

__all__ = ["Dataset", "Split", "open_dataset"]
