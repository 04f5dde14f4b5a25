"""Who proposes: the budget, widths placed onto it, samplers, and the loop between proposing and judging."""
