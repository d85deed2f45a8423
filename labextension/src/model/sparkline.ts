// In pixels.
export const WIDTH = 40;
export const HEIGHT = 12;

// Looks that take all of the width; fewer leave room at the left.
const FEW = 10;

/**
 * The points of a line over the last looks, the newest at the right, as SVG has them.
 *
 * A line that never comes near the limit is drawn over a quarter of it, so that it is no flat one.
 */
export function sparklinePoints(
  values: readonly number[],
  highest: number
): string {
  const top = Math.max(highest / 4, ...values, Number.MIN_VALUE);
  const step = WIDTH / (Math.max(values.length, FEW) - 1);
  const first = WIDTH - step * (values.length - 1);
  return values
    .map((value, index) => {
      const x = first + step * index;
      const y = HEIGHT - 1 - (HEIGHT - 2) * (value / top);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    })
    .join(' ');
}
