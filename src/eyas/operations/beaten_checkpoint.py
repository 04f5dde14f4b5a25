"""A checkpoint that was taken as it is and answers surely worse than the network pruned from it: it is fed wrongly."""

from eyas.operations.paired_difference import PairedDifference

RARE_GAIN = 0.02
"""Chosen, not measured: so much is seldom gained by pruning and fine-tuning a network that is right for the data, while
pixels of another scale, another order of the classes or another image size cost far more, and training wins it back."""
WORDS = "the checkpoint answers worse than the network pruned from it"
ADVICE = (
    "look at fetch.mean and fetch.std, the order of the classes, fetch.image_size and fetch.resize, which have to be "
    "those that it was trained with; or adapt it to this data first (baseline.adapt_epochs)"
)


def is_beaten(test: PairedDifference) -> bool:
    """Whether the paired interval of the gain lies above :data:`RARE_GAIN` as a whole."""
    return test.interval()[0] > RARE_GAIN
