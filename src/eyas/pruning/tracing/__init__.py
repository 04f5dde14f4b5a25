"""How channels flow through a network: captured by ``torch.export``, followed operator by operator.

Every dimension of every parameter gets an array of channel *ids*. An abstract interpretation of the exported
ATen graph carries these arrays along with the activations: a residual sum unites ids index by index, a concat
joins arrays, a flatten repeats them. Ids that were united live or die together; ids that meet something the
rules do not understand are frozen, with the reason.
"""
