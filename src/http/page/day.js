// A day of a patient: signal, rates, beats, what was found, alarms.

import * as api from "./api.js";
import { element } from "./element.js";
import { heading, showProblem } from "./views.js";
import { clockTime, conditionWords, dateTime, elapsed } from "./wording.js";

/** The day of an instant in the viewer's time zone, such as `2026-11-26`. */
export function dayOf(when) {
  return dateTime(when).slice(0, 10);
}

/** Noon of a day, `null` for what is none; the day beside it is a day away whatever the clocks do. */
function noonOf(day) {
  const noon = new Date(`${day}T12:00:00`);
  return Number.isNaN(noon.getTime()) ? null : noon;
}

function beside(noon, days) {
  const other = new Date(noon);
  other.setDate(other.getDate() + days);
  return dayOf(other);
}

function table(titles, rows, none) {
  if (rows.length === 0) {
    return element("p", {}, none);
  }
  const head = element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))));
  return element("div.scroll", {}, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

const percent = (value) => (value === null ? "" : `${Number(value.toFixed(1))} %`);
const span = (seconds) => (seconds === null ? "" : elapsed(1000 * seconds));

const share = (n, ofBeats) => (ofBeats === null ? `${n}` : `${n} (${percent(ofBeats)})`);

function wornWords(worn) {
  const end = new Date(worn.until) > new Date() ? "now" : clockTime(worn.until);
  return `${worn.device} from ${clockTime(worn.from)} to ${end}`;
}

function facts(day) {
  const { signal, rate, beats } = day;
  const rows = [
    ["Signal", `${signal.hours} h, ${signal.usable_share === null ? "none" : percent(100 * signal.usable_share)} usable`],
    ["Gaps", signal.gaps === 0 ? "none" : `${signal.gaps}, ${span(signal.gap_seconds)}, the longest ${span(signal.longest_gap_seconds)}`],
    ["Rate", rate === null ? "none" : `${Math.round(rate.min_bpm)} (${clockTime(rate.min_at)}), mean ${Math.round(rate.mean_bpm)}, ${Math.round(rate.max_bpm)} (${clockTime(rate.max_at)}) /min`],
    ["Beats", `${beats.total}`],
    ["Ventricular", share(beats.by_class.V, beats.ventricular_percent)],
    ["Supraventricular", share(beats.by_class.S, beats.supraventricular_percent)],
    ["Worn", day.devices.map(wornWords).join(", ") || "nothing"],
  ];
  return element("dl.terms", { "data-testid": "day-facts" }, ...rows.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));
}

/** Shows a day of a patient. `isCurrent` guards against late answers. */
export async function showDay(view, patient, date, isCurrent) {
  const noon = noonOf(date);
  if (noon === null) {
    showProblem(view, patient, new Error(`${date} is no day`));
    return;
  }
  view.replaceChildren(heading(patient, "Loading…"));
  let day;
  try {
    day = await api.day(patient, date, -noon.getTimezoneOffset());
  } catch (error) {
    if (isCurrent()) {
      showProblem(view, patient, error);
    }
    return;
  }
  if (!isCurrent()) {
    return;
  }
  const link = (other, text) => element("a.button", { href: `#/day/${encodeURIComponent(patient)}/${other}` }, text);
  view.replaceChildren(
    heading(patient, date),
    element("nav.days", { "aria-label": "Days" }, link(beside(noon, -1), "← Day before"), link(beside(noon, 1), "Day after →")),
    facts(day),
    element("h2", {}, "Found"),
    table(
      ["What", "Episodes", "Altogether", "Longest", "Of the signal"],
      day.findings.map((found) => [found.text, found.episodes, span(found.seconds), span(found.longest_seconds), percent(found.burden_percent)]),
      "Nothing was found.",
    ),
    element("h2", {}, "Alarms"),
    table(
      ["Condition", "Priority", "Raised", "Held back", "Not cleared", "Acknowledged", "Median time to that"],
      day.alarms.by_condition.map((alarm) => [
        conditionWords(alarm.condition),
        element("span.chip", { "data-priority": alarm.priority }, alarm.priority),
        alarm.raised,
        alarm.held_back,
        alarm.raised - alarm.by_state.cleared,
        alarm.acknowledged,
        span(alarm.median_seconds_to_acknowledge),
      ]),
      "No alarms.",
    ),
  );
  view.querySelector("h1").focus({ preventScroll: true });
}
