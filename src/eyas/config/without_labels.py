"""Images without labels need a network that answers in their place, and nothing that reads labels."""

from collections.abc import Iterator

from eyas.config.stages import BaselineParams, FetchParams, FinetuneParams, SampleParams, ScoreParams
from eyas.config.test_set import require_test_set
from eyas.errors import ParameterError
from eyas.pruning.criteria import Criterion
from eyas.sampling.samplers import Sampler
from eyas.scoring.scorers import Scorer


def require_no_labels(
    fetch: FetchParams, baseline: BaselineParams, sample: SampleParams, score: ScoreParams, finetune: FinetuneParams
) -> None:
    """Refuse parameters that ask for labels of unlabelled images.

    A labelled test set is held to what any is: the checkpoint must not have seen it.

    Raises:
        ParameterError: names every field that does, and what would do without.
    """
    faults = [f"  {fault}" for fault in _faults(fetch, baseline, sample, score, finetune)]
    if faults:
        raise ParameterError("\n".join(faults))
    if fetch.task.of_part("test").labelled:
        require_test_set(fetch, baseline)


def _faults(
    fetch: FetchParams, baseline: BaselineParams, sample: SampleParams, score: ScoreParams, finetune: FinetuneParams
) -> Iterator[str]:
    without = f"fetch.task is {fetch.task.kind}"
    if baseline.checkpoint is None:
        yield f"baseline.checkpoint: {without}: there is nothing to train a network with; give a trained one"
    if baseline.adapt_epochs:
        yield f"baseline.adapt_epochs: {without}: a checkpoint is adapted by labels; leave it out"
    if fetch.task.of_part("test").labelled and "test" not in fetch.addresses:
        yield "fetch.test: fetch.task.labelled_test speaks of a test set with labels; give its address"
    if score.scorer is not None and score.scorer.needs_labels:
        able = ", ".join(kind for kind, member in Scorer.members().items() if not member.needs_labels)
        yield f"score.scorer: {without}, and {score.scorer.kind} reads labels; these do not: {able}"
    readers: dict[str, Criterion | Sampler] = {"sample.criterion": sample.criterion, "sample.sampler": sample.sampler}
    if finetune.gradual is not None:
        readers["finetune.gradual.criterion"] = finetune.gradual.criterion
    for field, reader in readers.items():
        if reader.reads_labels:
            yield f"{field}: {without}, and {reader.kind} with labels: true reads labels; leave labels out"
    if finetune.epochs != 0:
        try:
            finetune.recipe.without_labels()
        except ParameterError as error:
            yield f"finetune.recipe: {without}: {error}"
