// The open alarms: most urgent first, acknowledged with one click, never hidden by anything else.

import * as api from "./api.js";
import { explanation } from "./conditions.js";
import { askName } from "./dialogs.js";
import { element, setAttribute, setText } from "./element.js";
import { PRIORITIES, clockTime, conditionWords, elapsed, onsetOf } from "./wording.js";

const MARKS = { high: "!!!", medium: "!!", low: "!" };
/** What waits for a reaction comes before what is being dealt with. */
const STATES = ["active", "latched", "acknowledged"];
/** The order in which an alarm goes through its states; it skips one of the middle two. */
const STEPS = ["active", "latched", "acknowledged", "cleared"];
/** How many cleared alarms are remembered, so that a late answer does not bring one back. */
const CLEARED_KEPT = 1000;
const STATE_WORDS = { active: "Active", acknowledged: "Acknowledged", latched: "Latched: over, not acknowledged", cleared: "Cleared" };

export class Alarms {
  /**
   * @param {Object} places `list`, `none` and `announcer` elements.
   * @param {function(): void} onChange Called after the set of open alarms changed.
   */
  constructor(places, onChange) {
    this.places = places;
    this.onChange = onChange;
    this.open = new Map();
    this.rows = new Map();
    this.announced = new Set();
    this.cleared = new Set();
  }

  /** The open alarms of a device. */
  of(device) {
    return [...this.open.values()].filter((alarm) => alarm.device === device);
  }

  /** Whether somebody still has to react. */
  unattended() {
    return [...this.open.values()].filter((alarm) => alarm.state === "active");
  }

  /** Takes one alarm as it now stands. */
  update(alarm) {
    this.take(alarm);
    this.show();
  }

  /** Takes all open alarms; others are gone. */
  replace(alarms) {
    const present = new Set(alarms.map((alarm) => alarm.id));
    for (const id of this.open.keys()) {
      if (!present.has(id)) {
        this.open.delete(id);
      }
    }
    for (const alarm of alarms) {
      this.take(alarm);
    }
    this.show();
  }

  take(alarm) {
    const known = this.open.get(alarm.id);
    if (alarm.state === "cleared") {
      this.open.delete(alarm.id);
      this.cleared.add(alarm.id);
      if (this.cleared.size > CLEARED_KEPT) {
        this.cleared.delete(this.cleared.values().next().value);
      }
      return;
    }
    // An answer may have been under way when something newer came. Instants do not tell, since
    // steps are timed by the device and acknowledgements by the service; but states only go on.
    const older = known !== undefined && STEPS.indexOf(alarm.state) < STEPS.indexOf(known.state);
    if (older || this.cleared.has(alarm.id)) {
      return;
    }
    this.open.set(alarm.id, { ...alarm, strip: alarm.strip ?? known?.strip ?? null });
  }

  sorted() {
    const rank = (alarm) => PRIORITIES.indexOf(alarm.priority) * 10 + STATES.indexOf(alarm.state);
    return [...this.open.values()].sort((a, b) => rank(a) - rank(b) || new Date(onsetOf(b)) - new Date(onsetOf(a)) || a.id.localeCompare(b.id));
  }

  show() {
    const alarms = this.sorted();
    const focused = document.activeElement;
    for (const [id, row] of this.rows) {
      if (!this.open.has(id)) {
        row.root.remove();
        this.rows.delete(id);
      }
    }
    let previous = null;
    for (const alarm of alarms) {
      let row = this.rows.get(alarm.id);
      if (row === undefined) {
        row = new AlarmRow(alarm.id, this);
        this.rows.set(alarm.id, row);
      }
      row.update(alarm);
      const next = previous === null ? this.places.list.firstChild : previous.nextSibling;
      if (next !== row.root) {
        this.places.list.insertBefore(row.root, next);
      }
      previous = row.root;
      this.announce(alarm);
    }
    if (focused instanceof HTMLElement && focused.isConnected) {
      focused.focus({ preventScroll: true });
    }
    this.places.none.hidden = alarms.length > 0;
    this.places.list.hidden = alarms.length === 0;
    this.onChange();
  }

  announce(alarm) {
    if (alarm.state !== "active" || this.announced.has(alarm.id)) {
      return;
    }
    this.announced.add(alarm.id);
    const sentence = element("p", {}, `${alarm.priority} priority alarm: ${conditionWords(alarm.condition)}, ${alarm.device}`);
    this.places.announcer.append(sentence);
    setTimeout(() => sentence.remove(), 10_000);
  }

  tick() {
    for (const row of this.rows.values()) {
      row.tick();
    }
  }
}

class AlarmRow {
  constructor(id, alarms) {
    this.alarms = alarms;
    this.alarm = null;
    this.mark = element("span.mark", { "aria-hidden": "true" });
    this.condition = element("strong.condition");
    this.where = element("a.where");
    this.since = element("span.since", { title: "Onset, and how long ago" });
    this.evidence = element("span.evidence");
    this.state = element("span.state");
    this.problem = element("span.problem", { role: "alert" });
    this.about = element("details.about", { "data-testid": "about", ontoggle: () => this.explain() }, element("summary", {}, "What is this?"));
    this.strip = element("a.button.small", { "data-testid": "strip", href: `#/strip/${encodeURIComponent(id)}` }, "Strip");
    this.button = element("button.button.small.acknowledge", { type: "button", "data-testid": "acknowledge", onclick: () => this.acknowledge() }, "Acknowledge");
    this.root = element(
      "li.alarm",
      { "data-testid": "alarm", "data-alarm": id },
      this.mark,
      element("div.what", {}, this.condition, this.where, this.since),
      element("div.why", {}, this.evidence, this.state, this.about, this.problem),
      element("div.actions", {}, this.strip, this.button),
    );
  }

  update(alarm) {
    this.alarm = alarm;
    const condition = conditionWords(alarm.condition);
    setAttribute(this.root, "data-state", alarm.state);
    setAttribute(this.root, "data-priority", alarm.priority);
    setAttribute(this.root, "data-condition", alarm.condition);
    setAttribute(this.root, "data-kind", alarm.kind);
    setAttribute(this.root, "data-device", alarm.device);
    setAttribute(this.root, "aria-label", `${alarm.priority} priority: ${condition}, ${alarm.device}, ${alarm.state}`);
    setText(this.mark, MARKS[alarm.priority] ?? "?");
    setText(this.condition, condition);
    setText(this.where, alarm.patient === null ? alarm.device : `${alarm.device} · ${alarm.patient}`);
    setAttribute(this.where, "href", `#/device/${encodeURIComponent(alarm.device)}`);
    setText(this.evidence, alarm.evidence);
    const by = alarm.acknowledged_by === null ? "" : ` by ${alarm.acknowledged_by}`;
    const escalated = alarm.escalated_level > 0 ? ` · escalated ${alarm.escalated_level}×` : "";
    const paused = alarm.paused === true ? " · messages paused" : "";
    setText(this.state, `${STATE_WORDS[alarm.state] ?? alarm.state}${by}${escalated}${paused}`);
    this.strip.classList.toggle("away", alarm.strip === null);
    this.button.classList.toggle("away", alarm.state === "acknowledged");
    setAttribute(this.button, "aria-label", `Acknowledge ${condition} of ${alarm.device}`);
    setAttribute(this.strip, "aria-label", `Strip of ${condition} of ${alarm.device}`);
    if (alarm.state === "acknowledged") {
      setText(this.problem, "");
    }
    this.tick();
  }

  tick() {
    const onset = new Date(onsetOf(this.alarm));
    setText(this.since, `${clockTime(onset)} · ${elapsed(Date.now() - onset.getTime())}`);
  }

  /** The line of the table of conditions, when somebody asks for it. */
  async explain() {
    if (this.about.open && this.about.childElementCount === 1) {
      const line = await explanation(this.alarm.condition);
      this.about.replaceChildren(this.about.firstChild, line);
    }
  }

  async acknowledge() {
    const by = await askName();
    if (by === null) {
      return;
    }
    this.button.disabled = true;
    setText(this.problem, "");
    try {
      this.alarms.update(await api.acknowledge(this.alarm.id, by));
    } catch (error) {
      setText(this.problem, `Not acknowledged: ${error.message}`);
      if (error.status === 409 || error.status === 404) {
        // Somebody was faster, or it cleared meanwhile: show what is true now.
        await this.reload();
      }
    } finally {
      this.button.disabled = false;
    }
  }

  async reload() {
    try {
      this.alarms.update(await api.alarm(this.alarm.id));
    } catch {
      // The next refresh of all alarms will tell.
    }
  }
}
