"""Draws the logos of the kernelspecs: a kernel on the run, with one streak for each size.

Run ``python -m tools.draw_logos`` after a change here; the drawings are kept in the repository.
SVG and PNG come from the same numbers, on a square of 64 units.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

KERNELSPECS = Path(__file__).parent.parent / "kernelspecs"
UNITS = 64
PNG_SIZES = (32, 64)
# Drawn this many times larger and then reduced: Pillow does not smooth edges itself.
SUPERSAMPLING = 16

GROUND = "#0b4f5c"
STREAK = "#e9f5f2"
KERNEL = "#ffc857"
CORNER_RADIUS = 14.0
CENTRE = (43.0, 32.0)
RADIUS = 13.0
NUCLEUS_RADIUS = 5.0
STREAK_WIDTH = 5.0


@dataclass(frozen=True)
class Streak:
    """A horizontal line with round ends behind the kernel."""

    y: float
    start: float
    end: float


STREAKS = {
    "gra": (Streak(32, 10.5, 22),),
    "gra-medium": (Streak(25.5, 9.5, 23), Streak(38.5, 13.5, 23)),
    "gra-large": (Streak(19, 13.5, 27), Streak(32, 8.5, 22), Streak(45, 13.5, 27)),
}


def svg(streaks: tuple[Streak, ...]) -> str:
    """The logo as an SVG document."""
    lines = "\n".join(f'    <path d="M{s.start:g} {s.y:g}H{s.end:g}"/>' for s in streaks)
    x, y = CENTRE
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {UNITS} {UNITS}">
  <rect width="{UNITS}" height="{UNITS}" rx="{CORNER_RADIUS:g}" fill="{GROUND}"/>
  <g stroke="{STREAK}" stroke-width="{STREAK_WIDTH:g}" stroke-linecap="round">
{lines}
  </g>
  <circle cx="{x:g}" cy="{y:g}" r="{RADIUS:g}" fill="{KERNEL}"/>
  <circle cx="{x:g}" cy="{y:g}" r="{NUCLEUS_RADIUS:g}" fill="{GROUND}"/>
</svg>
"""


def png(streaks: tuple[Streak, ...], size: int) -> Image.Image:
    """The logo as an image of ``size`` pixels a side."""
    scale = size * SUPERSAMPLING / UNITS
    image = Image.new("RGBA", (size * SUPERSAMPLING, size * SUPERSAMPLING))
    draw = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float) -> list[float]:
        return [left * scale, top * scale, right * scale - 1, bottom * scale - 1]

    def circle(radius: float, colour: str) -> None:
        x, y = CENTRE
        draw.ellipse(box(x - radius, y - radius, x + radius, y + radius), fill=colour)

    draw.rounded_rectangle(box(0, 0, UNITS, UNITS), radius=CORNER_RADIUS * scale, fill=GROUND)
    half = STREAK_WIDTH / 2
    for s in streaks:
        bounds = box(s.start - half, s.y - half, s.end + half, s.y + half)
        draw.rounded_rectangle(bounds, radius=half * scale, fill=STREAK)
    circle(RADIUS, KERNEL)
    circle(NUCLEUS_RADIUS, GROUND)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the three files of each kernelspec."""
    for name, streaks in STREAKS.items():
        folder = KERNELSPECS / name
        (folder / "logo-svg.svg").write_text(svg(streaks), encoding="utf-8")
        for size in PNG_SIZES:
            png(streaks, size).save(folder / f"logo-{size}x{size}.png", optimize=True)


if __name__ == "__main__":
    main()
