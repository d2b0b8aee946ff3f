// What a model draws of a pulse wave: dashed, in the colour of models, and called what it is. It has an element of its own,
// so that nobody takes it for one of the traces.

import { element, setText, svg } from "./element.js";

/** Per second and per mV, in units of the drawing: no scale of ECG paper, and no paper, for nothing is to be read off it. */
const PER_SECOND = 25;
const PER_MV = 20;
const HEIGHT = 36;
/** Where 0 mV is. */
const ZERO = 26;

export class Synthetic {
  constructor(device) {
    this.wave = svg("polyline");
    this.drawing = svg("svg", { role: "img", "aria-label": `Synthetic trace of ${device}, not an ECG` }, this.wave);
    this.words = element("figcaption");
    this.root = element("figure.synthetic", { hidden: true, "data-testid": "synthetic" }, this.words, this.drawing);
  }

  /** Shows what the API gave. */
  show(answer) {
    const width = answer.seconds * PER_SECOND;
    const y = (uv) => Math.min(HEIGHT, Math.max(0, ZERO - (uv / 1000) * PER_MV));
    const points = answer.samples.map((uv, k) => `${((k / answer.rate_hz) * PER_SECOND).toFixed(2)},${y(uv).toFixed(2)}`);
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.wave.setAttribute("points", points.join(" "));
    const { name, version } = answer.model;
    setText(this.words, `Synthetic, not an ECG: drawn from ${answer.drawn_from} by ${name} ${version}`);
    this.root.title = answer.notice;
    this.root.hidden = false;
  }

  /** Shows nothing. */
  hide() {
    this.root.hidden = true;
    this.wave.setAttribute("points", "");
  }
}
