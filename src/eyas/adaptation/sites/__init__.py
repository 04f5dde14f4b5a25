"""Several sites that cannot share images: they share batch-norm statistics and losses, which a coordinator merges.

FedTiny's selection of candidates (Huang et al. 2022, arXiv:2212.01977, adaptive batch-norm selection).
"""
