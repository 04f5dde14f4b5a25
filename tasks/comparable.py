"""Whether the dense network of a run may have seen its test images: then no accuracy of it compares with another."""

from eyas.config import BaselineParams
from eyas.data import Dataset
from eyas.data.comparability import Comparability
from eyas.data.held_out import HeldOutImages
from tasks.dense_source import DenseSource


def comparability(section: BaselineParams, source: DenseSource, dataset: Dataset) -> Comparability:
    """What is known of the first weights: none, a file that the parameters speak of, or a registered version.

    Args:
        section: says whether the checkpoint has seen the training data.
        source: where the weights came from.
        dataset: the fetched data set.
    """
    registered, unseen = source.registered, section.seen_by_checkpoint is False
    if registered is not None:
        test = HeldOutImages.of(dataset.folder)
        if registered.seen is None and registered.data_set != test.data_set and (unseen or test.of_its_own):
            return Comparability()
        made = Comparability(**registered.comparability)
        return test.unseen_by(registered.version, made, registered.data_set, registered.seen)
    if not dataset.task_of("test").labelled:  # agreement is no accuracy, whoever has seen the images
        return Comparability()
    if source.weights is None or unseen or not dataset.manifest.test_from_train:
        return Comparability()
    trained = "was" if section.seen_by_checkpoint else "may have been"
    where = "the test images are a part of fetch.train (fetch.test: from_train)"
    return Comparability(False, f"{where}, on which the checkpoint {trained} trained")
