// The sparkline of a device's heart rate: the mean of each minute as a line inside the band from
// its lowest to its highest. Minutes without a rate stay blank.

import { svg } from "./element.js";

const WIDTH = 132;
const HEIGHT = 30;
/** The rates at the bottom and top edge unless the values go further, per minute. */
const FLOOR_BPM = 40;
const CEILING_BPM = 120;
export const SPAN_MINUTES = 60;

/** Draws `trends` (one entry per minute) into `target`, an SVG element, up to `now`. */
export function drawTrend(target, trends, now) {
  const points = trends
    .map((trend) => ({
      minutes: (now.getTime() - new Date(trend.start).getTime()) / 60_000,
      mean: trend.bpm_mean,
      low: trend.bpm_min ?? trend.bpm_mean,
      high: trend.bpm_max ?? trend.bpm_mean,
    }))
    .filter((point) => Number.isFinite(point.mean) && point.minutes >= 0 && point.minutes <= SPAN_MINUTES + 1)
    .sort((a, b) => b.minutes - a.minutes);
  target.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  if (points.length === 0) {
    target.replaceChildren();
    target.setAttribute("aria-label", "No rate in the last hour");
    return;
  }
  const floor = Math.min(FLOOR_BPM, ...points.map((point) => point.low));
  const ceiling = Math.max(CEILING_BPM, ...points.map((point) => point.high));
  const x = (point) => (WIDTH * (1 - point.minutes / SPAN_MINUTES)).toFixed(1);
  const y = (bpm) => (1 + (HEIGHT - 2) * (1 - (bpm - floor) / (ceiling - floor))).toFixed(1);

  const runs = [];
  for (const point of points) {
    const run = runs.at(-1);
    if (run === undefined || run.at(-1).minutes - point.minutes > 1.6) {
      runs.push([point]);
    } else {
      run.push(point);
    }
  }
  const shapes = [];
  for (const run of runs) {
    if (run.length === 1) {
      const [point] = run;
      shapes.push(svg("line.band", { x1: x(point), x2: x(point), y1: y(point.low), y2: y(point.high) }));
      shapes.push(svg("circle.mean", { cx: x(point), cy: y(point.mean), r: 1 }));
      continue;
    }
    const top = run.map((point) => `${x(point)},${y(point.high)}`);
    const bottom = run.toReversed().map((point) => `${x(point)},${y(point.low)}`);
    shapes.push(svg("polygon.band", { points: [...top, ...bottom].join(" ") }));
    shapes.push(svg("polyline.mean", { points: run.map((point) => `${x(point)},${y(point.mean)}`).join(" ") }));
  }
  target.replaceChildren(...shapes);
  const lowest = Math.round(Math.min(...points.map((point) => point.low)));
  const highest = Math.round(Math.max(...points.map((point) => point.high)));
  target.setAttribute("aria-label", `Rate in the last hour: ${lowest} to ${highest} per minute`);
}
