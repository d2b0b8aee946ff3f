// The views beside the station: one alarm with its strip, a device's twelve leads, the history.

import * as api from "./api.js";
import { explanation } from "./conditions.js";
import { element } from "./element.js";
import { drawStrip, findingsOf, legendOf, originsOf } from "./strip.js";
import { clockTime, conditionWords, dateTime, onsetOf } from "./wording.js";

export function heading(title, sub) {
  return element(
    "header.view-head",
    {},
    element("a.button", { href: "#/", "data-testid": "back" }, "← All devices"),
    element("div", {}, element("h1", { tabindex: -1 }, title), sub === null ? null : element("p", {}, sub)),
  );
}

/** Shows a failure in the view, in words. */
export function showProblem(view, title, error) {
  view.replaceChildren(heading(title, null), element("p.problem", { role: "alert" }, `Cannot show this: ${error.message}.`));
}

function paper(strip, marks) {
  return element(
    "div.sheet",
    { tabindex: 0, role: "region", "aria-label": "ECG paper, scrolls sideways on a small screen" },
    drawStrip(strip, marks),
  );
}

function sources(strip) {
  const model = strip.model;
  return element(
    "div.sources",
    {},
    findingsOf(strip),
    legendOf(strip),
    element("p", {}, `25 mm/s, 10 mm/mV, ${Number(strip.seconds.toFixed(2))} s from ${dateTime(strip.start)} at ${strip.rate_hz} Hz`),
    element("ul", {}, ...originsOf(strip).map((part) => element("li", {}, part))),
    model === null
      ? null
      : element("p.model", { "data-testid": "model" }, `Model ${model.name} ${model.version}, sha256 ${model.sha256.slice(0, 16)}…`),
    strip.signals.some((signal) => signal.origin === "reconstructed")
      ? element("p", {}, "Reconstructed leads are estimates. They are never the only evidence of a high-priority alarm.")
      : null,
  );
}

/** An alarm: its evidence, its strip, what happened to it. `isCurrent` guards against late answers. */
export async function showAlarm(view, alarmId, isCurrent) {
  view.replaceChildren(heading("Strip", "Loading…"));
  const [alarm, strip] = await Promise.allSettled([api.alarm(alarmId), api.strip(alarmId)]);
  if (!isCurrent()) {
    return;
  }
  if (alarm.status === "rejected") {
    showProblem(view, "Strip", alarm.reason);
    return;
  }
  const about = alarm.value;
  const line = await explanation(about.condition);
  if (!isCurrent()) {
    return;
  }
  const who = about.patient === null ? about.device : `${about.device}, patient ${about.patient}`;
  view.replaceChildren(
    heading(conditionWords(about.condition), who),
    element(
      "p.verdict",
      { "data-priority": about.priority },
      element("b", {}, `${about.priority} priority, ${about.kind}, ${about.state}`),
      element("span", { "data-testid": "evidence" }, about.evidence),
      element("span", {}, about.onset === undefined ? `raised ${dateTime(about.raised)}` : `onset ${dateTime(about.onset)}, raised ${clockTime(about.raised)}`),
    ),
    strip.status === "fulfilled"
      ? paper(strip.value, [
          ...(about.onset === undefined ? [] : [{ at: about.onset, label: "onset" }]),
          { at: about.raised, label: "raised" },
        ])
      : element("p.problem", { role: "alert" }, `No strip: ${strip.reason.message}.`),
    strip.status === "fulfilled" ? sources(strip.value) : "",
    element("h2", {}, "When this is alarmed on"),
    line,
    element("h2", {}, "What happened"),
    element(
      "div.scroll",
      {},
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, ...["When", "State", "By", "Why"].map((title) => element("th", { scope: "col" }, title)))),
        element(
          "tbody",
          {},
          ...(about.events ?? []).map((event) =>
            element(
              "tr",
              {},
              element("td", {}, dateTime(event.at)),
              element("td", {}, event.state),
              element("td", {}, event.by ?? ""),
              element("td", {}, event.evidence),
            ),
          ),
        ),
      ),
    ),
  );
  view.querySelector("h1").focus({ preventScroll: true });
}

/** A device's latest window with all twelve leads. */
export async function showTwelveLead(view, device, isCurrent) {
  view.replaceChildren(heading(device, "Loading…"));
  let strip;
  try {
    strip = await api.twelveLead(device);
  } catch (error) {
    if (isCurrent()) {
      showProblem(view, device, error);
    }
    return;
  }
  if (!isCurrent()) {
    return;
  }
  view.replaceChildren(
    heading(device, `Twelve leads, latest window: ${clockTime(strip.start)}`),
    paper(strip, []),
    sources(strip),
    element("p", {}, element("button.button", { type: "button", onclick: () => showTwelveLead(view, device, isCurrent) }, "Show the latest")),
  );
  view.querySelector("h1").focus({ preventScroll: true });
}

/** All alarms, newest first, a page at a time. */
export async function showHistory(view, isCurrent) {
  const rows = element("tbody");
  const problem = element("p.problem", { role: "alert" });
  let before = null;
  const more = element("button.button", { type: "button", onclick: () => load() }, "Older");
  const load = async () => {
    more.disabled = true;
    try {
      const page = await api.alarmHistory(before);
      if (!isCurrent()) {
        return;
      }
      before = page.next;
      rows.append(...page.alarms.map(historyRow));
      problem.textContent = rows.children.length === 0 ? "There has been no alarm yet." : "";
      more.hidden = before === null;
    } catch (error) {
      problem.textContent = `Cannot load: ${error.message}.`;
    } finally {
      more.disabled = false;
    }
  };
  view.replaceChildren(
    heading("Alarm history", null),
    element(
      "div.scroll",
      {},
      element(
        "table",
        {},
        element(
          "thead",
          {},
          element("tr", {}, ...["Onset", "Priority", "Condition", "Device", "State", "Acknowledged by", "Evidence", ""].map((title) => element("th", { scope: "col" }, title))),
        ),
        rows,
      ),
    ),
    problem,
    more,
  );
  await load();
  view.querySelector("h1").focus({ preventScroll: true });
}

function historyRow(alarm) {
  return element(
    "tr",
    { "data-priority": alarm.priority },
    element("td", {}, dateTime(onsetOf(alarm))),
    element("td", {}, element("span.chip", { "data-priority": alarm.priority }, alarm.priority)),
    element("td", {}, conditionWords(alarm.condition)),
    element("td", {}, alarm.device),
    element("td", {}, alarm.state),
    element("td", {}, alarm.acknowledged_by ?? ""),
    element("td", {}, alarm.evidence),
    element("td", {}, element("a", { href: `#/strip/${encodeURIComponent(alarm.id)}` }, alarm.strip === null ? "Details" : "Strip")),
  );
}
