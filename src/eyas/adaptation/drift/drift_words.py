"""What changed in the images, in words, the largest change first."""

import math
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
_DARKNESS = 2.0
"""Darkness that is half as far as the contrast that fell, or further, goes before it: it takes contrast along."""
_WHOLE, _THRICE, _AS_FAR, _QUARTER = math.inf, 3.0, 1.25, 0.25
"""How far, in its own effect, a change explains another one: what noise raises, say, at most three times as far."""
_EXPLAINED: dict[tuple[str, bool], tuple[tuple[str, bool, float], ...]] = {
    ("noise", _RISES): (("sharpness", _RISES, _THRICE), ("blockiness", _FALLS, _WHOLE)),
    ("sharpness", _FALLS): (("noise", _FALLS, _WHOLE), ("blockiness", _FALLS, _WHOLE)),
    ("blockiness", _RISES): (
        *(("noise", _FALLS, _WHOLE), ("noise", _RISES, _THRICE)),
        *(("sharpness", _FALLS, _WHOLE), ("sharpness", _RISES, _THRICE)),
    ),
    ("contrast", _FALLS): (("noise", _FALLS, _WHOLE), ("saturation", _FALLS, _WHOLE)),
    ("contrast", _RISES): (("noise", _RISES, _THRICE), ("saturation", _RISES, _THRICE)),
    ("saturation", _FALLS): (("tint", _FALLS, _AS_FAR), ("tint", _RISES, _AS_FAR)),
    ("brightness", _FALLS): (("tint", _FALLS, _QUARTER), ("tint", _RISES, _QUARTER)),
    ("brightness", _RISES): (("tint", _FALLS, _QUARTER), ("tint", _RISES, _QUARTER)),
    ("tint", _FALLS): (("saturation", _RISES, _THRICE),),
    ("tint", _RISES): (("saturation", _RISES, _THRICE),),
}
"""What follows from a change and is no change of its own: noise alone makes edges sharper, blur alone removes noise.

Light that is turned down takes all channels with it, so colours lie nearer to grey and to each other, and their tint is
nearer to grey, too. A tint of its own moves further than that.
"""


def name_changes(effects: Mapping[str, float]) -> tuple[str, ...]:
    """Changes in words, without what another one explains; darkness goes before the contrast that it takes along.

    Args:
        effects: of the statistics that changed, in standard deviations of the clean images, with their sign.
    """
    explained = {
        other
        for name, effect in effects.items()
        for other, rises, up_to in _EXPLAINED.get((name, effect > 0), ())
        if other in effects
        if (effects[other] > 0) == rises and abs(effects[other]) <= up_to * abs(effect)
    }
    size = {name: abs(effect) for name, effect in effects.items()}
    darker = effects.get("brightness", 0) < 0 and effects.get("contrast", 0) < 0
    if darker and size["brightness"] < size["contrast"] <= _DARKNESS * size["brightness"]:
        size["brightness"] = math.nextafter(size["contrast"], math.inf)
    shown = sorted(effects.keys() - explained, key=lambda name: -size[name])
    return tuple(WORDS[name][effects[name] > 0] for name in shown)
