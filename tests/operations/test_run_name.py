import pytest

from eyas.operations.run_name import budget_words, run_name


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ("default", "eyas-digits · 50 % MACs"),
        ("mine", "mine · 50 % MACs"),
        ("params+sample.budget.macs=0.5", "eyas-digits · 50 % MACs"),
        ("mine+sample.budget.macs=0.5+score.seed=3", "mine · 50 % MACs · score.seed=3"),
    ],
)
def test_a_run_is_called_after_profile_and_budget(profile: str, name: str) -> None:
    assert run_name(profile, "eyas-digits", {"macs": 0.5}) == name


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"macs": 0.125}, "12.5 % MACs"),
        ({"macs": 20_100_000}, "20.1 M MACs"),
        ({"params": 0.3, "latency_ms": 0.8}, "30 % parameters, 0.8 ms"),
        ({"file_bytes": 200_000}, "200 kB file"),
        ({"activation_bytes": 512}, "512 B activations"),
        ({"latency": 0.6}, "60 % latency"),
    ],
)
def test_a_budget_in_words(limits: dict[str, float], words: str) -> None:
    assert budget_words(limits) == words
