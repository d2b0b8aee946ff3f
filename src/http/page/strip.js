// Twelve leads on ECG paper: the strip stored around an alarm, or a device's latest window.
//
// Four columns of three leads, each a quarter of the time and consecutive, over one rhythm lead
// for the whole of it, 25 mm/s and 10 mm/mV. A reconstructed lead is drawn dashed, in another
// colour, within the band that holds 90 % of its samples, and says so; it is a model's estimate and never looks like a measurement. Recordings that
// are not twelve leads are drawn one full row per signal.

import { element, svg } from "./element.js";
import { findingWords } from "./wording.js";

const COLUMNS = [["I", "II", "III"], ["aVR", "aVL", "aVF"], ["V1", "V2", "V3"], ["V4", "V5", "V6"]];
const TWELVE = COLUMNS.flat();
const MM_PER_SECOND = 25;
const MM_PER_MV = 10;
const ROW_MM = 26;
const TOP_MM = 4;
/** Room for the calibration pulse before each row. */
const LEFT_MM = 12;
const RIGHT_MM = 2;

const ORIGIN_MARKS = { measured: "", derived: "derived", reconstructed: "reconstructed", absent: "absent" };

const WITHHELD = {
  too_few_leads: "too few leads are measured",
  unusable: "the measured leads are unusable",
  overloaded: "there was no time: more windows came than could be read",
  unfamiliar: "the measured leads look like nothing that the model knows",
  failed: "the model failed",
};

/**
 * The drawing of a strip as an SVG element, in millimetres.
 * @param {Object} strip As the API gives it.
 * @param {Object[]} marks `{at, label}`: moments to mark with a line.
 */
export function drawStrip(strip, marks = []) {
  const signals = new Map(strip.signals.map((signal) => [signal.name, signal]));
  const twelve = TWELVE.filter((name) => signals.has(name)).length >= 6;
  const seconds = strip.seconds;
  const rows = twelve ? 4 : Math.max(strip.signals.length, 1);
  const width = LEFT_MM + seconds * MM_PER_SECOND + RIGHT_MM;
  const height = TOP_MM + rows * ROW_MM;
  const paper = svg(
    "svg.strip",
    { viewBox: `0 0 ${width} ${height}`, "data-testid": "strip-paper", role: "group", "aria-label": "ECG at 25 mm/s and 10 mm/mV" },
    svg(
      "defs",
      {},
      svg("pattern", { id: "mm", width: 1, height: 1, patternUnits: "userSpaceOnUse" }, svg("path.mm", { d: "M1 0H0V1" })),
      svg("pattern", { id: "mm5", width: 5, height: 5, patternUnits: "userSpaceOnUse" }, svg("path.mm5", { d: "M5 0H0V5" })),
    ),
    svg("rect", { width, height, fill: "url(#mm)" }),
    svg("rect", { width, height, fill: "url(#mm5)" }),
  );
  if (twelve) {
    const span = seconds / 4;
    COLUMNS.forEach((column, c) => {
      column.forEach((name, r) => {
        paper.append(drawLead(strip, name, signals.get(name), { row: r, from: c * span, to: (c + 1) * span }));
      });
    });
    const rhythm = rhythmLead(strip.signals);
    paper.append(drawLead(strip, rhythm.name, rhythm, { row: 3, from: 0, to: seconds, rhythm: true }));
  } else {
    strip.signals.forEach((signal, r) => {
      paper.append(drawLead(strip, signal.name, signal, { row: r, from: 0, to: seconds, rhythm: true }));
    });
  }
  for (let r = 0; r < rows; r += 1) {
    const signal = twelve ? null : strip.signals[r];
    if (signal === null || signal?.unit === "uV") {
      const y = baseline(r);
      paper.append(svg("path.calibration", { d: `M2 ${y}h2v-10h5v10h2`, "aria-hidden": "true" }));
    }
  }
  for (const mark of marks) {
    const at = (new Date(mark.at).getTime() - new Date(strip.start).getTime()) / 1000;
    if (at >= 0 && at <= seconds) {
      const x = LEFT_MM + at * MM_PER_SECOND;
      const r = twelve ? 3 : 0;
      const top = TOP_MM + r * ROW_MM - 2;
      // A label that would leave the paper goes before its line.
      const ends = x > width - 14;
      paper.append(
        svg("g.moment", {}, svg("path", { d: `M${x.toFixed(2)} ${top}V${height}` }), svg("text", { x: (ends ? x - 1 : x + 1).toFixed(2), y: height - 1.5, "text-anchor": ends ? "end" : "start" }, mark.label)),
      );
    }
  }
  return paper;
}

/** The rhythm strip: lead II where it was measured, else any measured lead, else lead II. */
function rhythmLead(signals) {
  const measured = signals.filter((signal) => signal.origin === "measured" && signal.unit === "uV");
  return measured.find((signal) => signal.name === "II") ?? measured[0] ?? signals.find((signal) => signal.name === "II") ?? signals[0];
}

function baseline(row) {
  return TOP_MM + row * ROW_MM + ROW_MM * 0.6;
}

function drawLead(strip, name, signal, { row, from, to, rhythm = false }) {
  const origin = signal?.origin ?? "absent";
  const left = LEFT_MM + from * MM_PER_SECOND;
  const y0 = baseline(row);
  const group = svg("g.lead", {
    "data-testid": rhythm ? "rhythm" : "lead",
    "data-lead": name,
    "data-origin": origin,
    role: "img",
    "aria-label": `Lead ${name}, ${origin}`,
  });
  const label = svg("text.lead-name", { x: (left + 1.5).toFixed(2), y: (TOP_MM + row * ROW_MM + 3.5).toFixed(2) }, name);
  if (ORIGIN_MARKS[origin] !== "") {
    label.append(svg("tspan.origin", { dx: 1.2 }, ORIGIN_MARKS[origin] ?? origin));
  }
  if (signal !== undefined && origin !== "absent" && signal.samples.length > 0) {
    const first = Math.round(from * strip.rate_hz);
    const last = Math.min(signal.samples.length, Math.round(to * strip.rate_hz) + 1);
    const scale = scaleOf(signal);
    if (signal.band !== undefined) {
      group.append(svg("path.band", { "data-testid": "band", d: bandPath(strip, signal, first, last, y0, scale) }));
    }
    const points = [];
    for (let i = first; i < last; i += 1) {
      const value = signal.samples[i];
      const x = LEFT_MM + (i / strip.rate_hz) * MM_PER_SECOND;
      points.push(`${x.toFixed(2)} ${(y0 - scale(value)).toFixed(2)}`);
    }
    if (points.length > 1) {
      group.append(svg("path.wave", { d: `M${points.join("L")}` }));
    }
  }
  if (!rhythm && from > 0) {
    group.append(svg("path.divider", { d: `M${left.toFixed(2)} ${y0 - 4}v8` }));
  }
  group.append(label);
  return group;
}

/** The outline of the 90 % band of samples `first` to `last`: there above the lead, and back below it. */
function bandPath(strip, signal, first, last, y0, scale) {
  const step = signal.samples.length / signal.band.length;
  const edge = (i, sign) => {
    const half = signal.band[Math.min(Math.floor(i / step), signal.band.length - 1)];
    const x = LEFT_MM + (i / strip.rate_hz) * MM_PER_SECOND;
    return `${x.toFixed(2)} ${(y0 - scale(signal.samples[i] + sign * half)).toFixed(2)}`;
  };
  const points = [];
  for (let i = first; i < last; i += 1) {
    points.push(edge(i, 1));
  }
  for (let i = last - 1; i >= first; i -= 1) {
    points.push(edge(i, -1));
  }
  return points.length > 0 ? `M${points.join("L")}Z` : "";
}

/** From a sample to millimetres above the baseline. */
function scaleOf(signal) {
  if (signal.unit === "uV") {
    return (value) => (value / 1000) * MM_PER_MV;
  }
  let [low, high] = [Infinity, -Infinity];
  for (const value of signal.samples) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  // Somebody who lies still is drawn still.
  const range = Math.max(high - low, signal.unit === "mg" ? 500 : 1);
  return (value) => ((value - low) / range) * (ROW_MM - 8) - (ROW_MM - 8) * 0.4;
}

/** One sentence on where the leads come from. */
export function originsOf(strip) {
  const named = (origin) => strip.signals.filter((signal) => signal.origin === origin).map((signal) => signal.name);
  const parts = [];
  const [measured, derived, reconstructed] = [named("measured"), named("derived"), named("reconstructed")];
  if (measured.length > 0) {
    parts.push(`measured: ${measured.join(", ")}`);
  }
  if (derived.length > 0) {
    parts.push(`derived exactly from measured limb leads: ${derived.join(", ")}`);
  }
  if (reconstructed.length > 0) {
    const model = strip.model === null ? "a model" : `${strip.model.name} ${strip.model.version}`;
    parts.push(`reconstructed by ${model}: ${reconstructed.join(", ")}`);
  }
  if (typeof strip.trust === "number") {
    parts.push(`trust ${percent(strip.trust)}: this share of recordings is expected to be reconstructed worse`);
  }
  if (typeof strip.novelty === "number") {
    parts.push(`novelty ${percent(strip.novelty)}: this share of recordings looked less unusual to the model`);
  }
  if (typeof strip.withheld === "string") {
    parts.push(`not reconstructed: ${WITHHELD[strip.withheld] ?? strip.withheld}`);
  }
  return parts;
}

function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** What was found in a strip, each with the line that says why and how much of it is the model's. */
export function findingsOf(strip) {
  const found = strip.findings ?? [];
  if (found.length === 0) {
    return null;
  }
  return element(
    "ul.found",
    { "data-testid": "found", "aria-label": "Found in this strip" },
    ...found.map((finding) =>
      element(
        "li",
        { "data-name": finding.name, "data-source": finding.source },
        element("b", {}, findingWords(finding)),
        " ",
        element("span.why", {}, whyOf(finding)),
      ),
    ),
  );
}

function whyOf(finding) {
  const parts = [finding.evidence.text];
  const leads = Object.entries(finding.evidence.by_lead ?? {}).filter(([, fall]) => fall >= 0.01);
  if (leads.length > 0) {
    leads.sort((a, b) => b[1] - a[1]);
    parts.push(`without ${leads.slice(0, 3).map(([lead, fall]) => `${lead} −${fall.toFixed(2)}`).join(", ")}`);
  }
  const made = Object.entries(finding.leads).filter(([, origin]) => origin === "reconstructed").map(([lead]) => lead);
  if (made.length > 0) {
    parts.push(`rests on reconstructed ${made.join(", ")}`);
  }
  return parts.filter((part) => part !== "").join("; ");
}

/** The legend of line styles that occur in the strip. */
export function legendOf(strip) {
  const words = {
    measured: "measured by the device",
    derived: "derived, exact",
    reconstructed: "reconstructed, a model's estimate with the band of 90 %",
  };
  const present = Object.keys(words).filter((origin) => strip.signals.some((signal) => signal.origin === origin));
  return element(
    "ul.legend",
    { "aria-label": "Line styles" },
    ...present.map((origin) =>
      element(
        "li",
        {},
        svg("svg", { viewBox: "0 0 12 2", "aria-hidden": "true" }, svg("g.lead", { "data-origin": origin }, svg("path.wave", { d: "M0 1H12" }))),
        words[origin],
      ),
    ),
  );
}
