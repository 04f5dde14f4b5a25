"""What changed in the images, in words, the largest change first."""

from collections.abc import Mapping

WORDS = {
    "brightness": ("darker images", "brighter images"),
    "contrast": ("less contrast", "more contrast"),
    "saturation": ("weaker colours", "stronger colours"),
    "tint": ("colder colours", "warmer colours"),
    "sharpness": ("blur", "sharper edges"),
    "noise": ("less noise", "more noise"),
    "blockiness": ("less compression", "stronger compression (8 x 8 blocks)"),
}
"""Of each image statistic, what it is called where it falls and where it rises."""
OTHER_CONTENT = "something that brightness, contrast, colour, blur, noise and compression do not tell"
CLASS_BALANCE = "another balance of classes"

_FALLS, _RISES = False, True
_EXPLAINED: dict[tuple[str, bool], tuple[tuple[str, bool], ...]] = {
    ("noise", _RISES): (("sharpness", _RISES), ("blockiness", _FALLS)),
    ("sharpness", _FALLS): (("noise", _FALLS), ("blockiness", _FALLS)),
    ("blockiness", _RISES): (("noise", _FALLS), ("noise", _RISES), ("sharpness", _FALLS), ("sharpness", _RISES)),
    ("contrast", _FALLS): (("noise", _FALLS), ("saturation", _FALLS)),
    ("contrast", _RISES): (("noise", _RISES), ("saturation", _RISES)),
    ("tint", _FALLS): (("saturation", _RISES),),
    ("tint", _RISES): (("saturation", _RISES),),
}
"""What follows from a change and is no change of its own: noise alone makes edges sharper, blur alone removes noise."""
_EXPLAINS_UP_TO = 3.0
"""A change explains what rises at most three times as far as itself; what falls it explains whole."""


def name_changes(effects: Mapping[str, float]) -> tuple[str, ...]:
    """Changes in words, without what another one explains.

    Args:
        effects: of the statistics that changed, in standard deviations of the clean images, with their sign.
    """
    explained = {
        other
        for name, effect in effects.items()
        for other, rises in _EXPLAINED.get((name, effect > 0), ())
        if other in effects
        if (effects[other] > 0) == rises and (not rises or effects[other] <= _EXPLAINS_UP_TO * abs(effect))
    }
    shown = sorted(effects.keys() - explained, key=lambda name: -abs(effects[name]))
    return tuple(WORDS[name][effects[name] > 0] for name in shown)
