"""The picture of what a token costs, for the documentation: one for light pages and one for dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["draw"]

# Ink and line of the two palettes; the bars are the same.
_THEMES = {"light": ("#1f2328", "#d0d7de"), "dark": ("#e6edf3", "#3d444d")}
_OURS, _OTHERS = "#4c6ef5", "#8b949e"


def draw(folder: Path, figures: Mapping[str, Sequence[tuple[str, float, bool]]], title: str) -> list[Path]:
    """Write `tokens-light.svg` and `tokens-dark.svg`; gives back their paths.

    `figures` are groups of bars: a name, microseconds, and whether it is ours.
    """
    # Any: it is not installed where the types are checked.
    mpl: Any = import_module("matplotlib")
    mpl.use("svg")
    # The same figures give the same file.
    mpl.rcParams["svg.hashsalt"] = "chat-sessions"
    mpl.rcParams["font.size"] = 10
    return [_draw(folder / f"tokens-{theme}.svg", figures, title, *inks) for theme, inks in _THEMES.items()]


def _draw(
    path: Path, figures: Mapping[str, Sequence[tuple[str, float, bool]]], title: str, ink: str, line: str
) -> Path:
    plt: Any = import_module("matplotlib.pyplot")
    heights = [len(bars) for bars in figures.values()]
    figure, axes = plt.subplots(
        len(heights), 1, sharex=True, figsize=(8, 0.36 * sum(heights) + 1.6), height_ratios=heights, squeeze=False
    )
    for axis, (name, bars) in zip(axes[:, 0], figures.items(), strict=True):
        names, values, are_ours = zip(*bars, strict=True)
        drawn = axis.barh(names, values, color=[_OURS if ours else _OTHERS for ours in are_ours], height=0.7)
        axis.bar_label(drawn, fmt="%.1f", padding=4, color=ink)
        axis.invert_yaxis()
        axis.set_title(name, loc="left", fontsize=10, color=ink, fontweight="bold")
        axis.tick_params(colors=ink, length=0)
        for side, spine in axis.spines.items():
            spine.set_visible(side == "left")
            spine.set_color(line)
        axis.xaxis.set_visible(False)
        axis.margins(x=0.08)
    figure.suptitle(title, x=0.02, ha="left", color=ink, fontsize=11)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)
    return path
