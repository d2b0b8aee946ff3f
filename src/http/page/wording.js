// The words and numbers of the page as people read them.

/** What each alarm condition is called on screen; an unknown one shows its own name. */
const CONDITIONS = {
  asystole: "Asystole",
  extreme_bradycardia: "Extreme bradycardia",
  extreme_tachycardia: "Extreme tachycardia",
  pause: "Pause",
  high_rate: "High rate",
  low_rate: "Low rate",
  av_block: "AV block",
  st_change: "ST change",
  leads_off: "Leads off",
  pulse_lost: "Pulse lost",
  unusable_signal: "Unusable signal",
  no_data: "No data",
};

const QUALITIES = {
  good: "good",
  lead_off: "lead off",
  flat: "flat",
  saturated: "saturated",
  noisy: "noisy",
  unclear: "unclear pulse",
  motion: "motion",
};

export const PRIORITIES = ["high", "medium", "low"];

export function conditionWords(condition) {
  return CONDITIONS[condition] ?? plain(condition);
}

export function qualityWords(reason) {
  return QUALITIES[reason] ?? plain(reason);
}

/** When the condition of an alarm began; where only samples tell that, when it was raised. */
export function onsetOf(alarm) {
  return alarm.onset ?? alarm.raised;
}

function plain(word) {
  const text = String(word).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `14:03:27` in the viewer's time zone. */
export function clockTime(when) {
  const date = new Date(when);
  return Number.isNaN(date.getTime())
    ? "?"
    : date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

/** `2026-03-09 14:03:27` in the viewer's time zone. */
export function dateTime(when) {
  const date = new Date(when);
  if (Number.isNaN(date.getTime())) {
    return "?";
  }
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clockTime(date)}`;
}

/** `12 s`, `3 min 05 s`, `2 h 10 min`, `4 d`. */
export function elapsed(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 60) {
    return `${seconds} s`;
  }
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  }
  if (seconds < 86400) {
    return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} min`;
  }
  return `${Math.floor(seconds / 86400)} d`;
}

/** `1 device`, `2 devices`. */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** A finding in a few words: what, and how probable where a model says so. */
export function findingWords(finding) {
  const p = finding.probability;
  return p === null || p === undefined ? finding.text : `${finding.text} ${Math.round(p * 100)} %`;
}
