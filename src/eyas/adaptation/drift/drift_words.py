"""What changed in the images, in words, the largest change first."""

import math
from collections.abc import Mapping, Sequence

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
COARSE_PIXELS = "coarser pixels"
CLASS_BALANCE = "another balance of classes"

_OF_COARSE_PIXELS = ("blockiness", "noise")
"""What repeated pixels change besides the sharpness."""
_FALLS, _RISES = False, True
_DARKNESS = 2.0
"""Darkness that is half as far as the contrast that fell, or further, goes before it: it takes contrast along."""
_HAZE = 2.0
"""Contrast that fell half as far as the sharpness, or further, goes before it: blur alone leaves it as it was."""
_COARSE = 2.0
"""Steps at the borders of 8 x 8 blocks that fall so many times as far as the sharpness are those of repeated pixels,
whose own borders lie elsewhere: blur that takes blocks away takes more of the sharpness. Steps that rise up to so many
times as far, with noise that stays, are those of repeated pixels whose borders lie there: compression takes noise."""
_WHOLE, _THRICE, _AS_FAR, _HALF, _QUARTER = math.inf, 3.0, 1.25, 0.5, 0.25
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
    ("brightness", _RISES): (
        *(("tint", _FALLS, _QUARTER), ("tint", _RISES, _QUARTER)),
        ("saturation", _RISES, _HALF),
    ),
    ("tint", _FALLS): (("saturation", _RISES, _THRICE),),
    ("tint", _RISES): (("saturation", _RISES, _THRICE),),
}
"""What follows from a change and is no change of its own: noise alone makes edges sharper, blur alone removes noise.

Light that is turned down takes all channels with it, so colours lie nearer to grey and to each other, and their tint is
nearer to grey, too. A tint of its own moves further than that. Light that is turned up takes them along as well.
"""


def _repeats_pixels(effects: Mapping[str, float]) -> bool:
    """Whether the images were stored in fewer pixels, each of which is shown as several."""
    sharpness, blockiness = effects.get("sharpness", 0.0), effects.get("blockiness", 0.0)
    if not sharpness < 0:
        return False
    on_borders = 0 < blockiness <= _COARSE * -sharpness and effects.get("noise", 0.0) >= 0
    return blockiness < _COARSE * sharpness or on_borders


def explained_changes(effects: Mapping[str, float]) -> dict[str, str]:
    """Of each change that follows from another one, that other one; effects as for :func:`name_changes`.

    Noise that contrast takes along comes with no sharper edges, and explains none.
    """
    explained: dict[str, str] = {}
    causes = sorted(effects, key=lambda name: name == "noise")  # after what explains it
    for name in causes:
        if name == "noise" and explained.get(name) == "contrast":
            continue
        for other, rises, up_to in _EXPLAINED.get((name, effects[name] > 0), ()):
            if other in effects and (effects[other] > 0) == rises and abs(effects[other]) <= up_to * abs(effects[name]):
                explained.setdefault(other, name)
    return explained


def largest_effect(effects: Mapping[str, float], changes: Sequence[str], follows: Mapping[str, str]) -> str:
    """Why the largest effect is not among the changes in words; empty where it is.

    Args:
        effects: of all image statistics that changed, in standard deviations of the clean images, with their sign.
        changes: in words, as :func:`name_changes` gives them.
        follows: as :func:`explained_changes` gives it.
    """
    if not effects:
        return ""
    name = max(effects, key=lambda one: abs(effects[one]))
    word = WORDS[name][effects[name] > 0]
    if word in changes or (name == "sharpness" and COARSE_PIXELS in changes):
        return ""
    why = "shows only against clean images of the classes that these are taken for"
    if COARSE_PIXELS in changes and name in _OF_COARSE_PIXELS:
        why = f"follows from {COARSE_PIXELS}"
    elif name in follows:
        cause = follows[name]
        why = f"follows from {WORDS[cause][effects[cause] > 0]}"
    return f"the largest effect, {word} ({abs(effects[name]):.1f} standard deviations), {why}"


def name_changes(effects: Mapping[str, float]) -> tuple[str, ...]:
    """Changes in words, without what another one explains.

    Darkness goes before the contrast that it takes along, contrast before the sharpness that haze takes along.

    Args:
        effects: of the statistics that changed, in standard deviations of the clean images, with their sign.
    """
    coarse = _repeats_pixels(effects)
    if coarse:
        effects = {name: effect for name, effect in effects.items() if name not in _OF_COARSE_PIXELS}
    explained = explained_changes(effects)
    size = {name: abs(effect) for name, effect in effects.items()}
    darker = effects.get("brightness", 0) < 0 and effects.get("contrast", 0) < 0
    if darker and size["brightness"] < size["contrast"] <= _DARKNESS * size["brightness"]:
        size["brightness"] = math.nextafter(size["contrast"], math.inf)
    hazy = not coarse and effects.get("contrast", 0) < 0 and effects.get("sharpness", 0) < 0
    if hazy and size["contrast"] < size["sharpness"] <= _HAZE * size["contrast"]:
        size["contrast"] = math.nextafter(size["sharpness"], math.inf)
    shown = sorted(effects.keys() - explained.keys(), key=lambda name: -size[name])
    words = {name: WORDS[name][effects[name] > 0] for name in shown}
    if coarse:
        words["sharpness"] = COARSE_PIXELS
    return tuple(words.values())
