// The card of one device: name, rate, traces, quality per signal, the rate's last hour.
//
// A card never lets old data look live: without a block for STALE_MS its traces turn grey and its
// rate is withdrawn, whatever the reason (device, broker, service or network).

import * as api from "./api.js";
import { dayOf } from "./day.js";
import { element, setAttribute, setText, svg } from "./element.js";
import { Synthetic } from "./synthetic.js";
import { Trace } from "./trace.js";
import { SPAN_MINUTES, drawTrend } from "./trend.js";
import { PRIORITIES, clockTime, conditionWords, elapsed, findingWords, qualityWords } from "./wording.js";

export const STALE_MS = 5_000;
const TREND_EVERY_MS = 60_000;
const SYNTHETIC_EVERY_MS = 5_000;
/** Below this score a signal is not used for conclusions. */
const USABLE = 0.5;
const HEART = "M12 21C5 15 2 11.5 2 7.8 2 4.9 4.2 3 6.8 3c2 0 3.9 1.1 5.2 3.2C13.3 4.1 15.2 3 17.2 3 19.8 3 22 4.9 22 7.8c0 3.700-3 7.200-10 13.200z";

/** Whether a signal is drawn: acceleration is shown with strips only. */
const isDrawn = (name) => !name.startsWith("ACC-");
/** Whether a signal that is drawn is a lead of the ECG. */
const isLead = (name) => isDrawn(name) && !name.startsWith("PPG") && name !== "ABP";

export class Card {
  /**
   * @param {string} device Its id.
   * @param {function(Card): void} onLimits Called when somebody wants to change the limits.
   */
  constructor(device, onLimits) {
    this.device = device;
    this.status = null;
    this.visible = false;
    this.lastBlockAt = null;
    this.beats = [];
    this.trendAt = null;
    this.syntheticAt = null;
    this.alarms = [];

    this.name = element("h2.name", {}, device);
    this.patient = element("a.patient", { "data-testid": "day" });
    this.online = element("span.online");
    this.pause = element("span.pause", { "data-testid": "pause" });
    this.rate = element("span.bpm", { "data-testid": "rate", title: "Heart rate, per minute" }, "--");
    this.heart = svg("svg.heart", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: HEART }));
    this.source = element("span.source");
    this.limits = element("button.limits", { type: "button", onclick: () => onLimits(this) });
    this.canvas = element("canvas", {
      "data-testid": "trace",
      "data-samples-drawn": 0,
      "data-marks-drawn": 0,
      role: "img",
      "aria-label": `Live traces of ${device}`,
    });
    this.labels = element("ul.labels", { "aria-label": "Signals and their quality" });
    this.note = element("p.alarm-note", { hidden: true });
    this.stale = element("p.stale-note", { hidden: true });
    this.paper = element("div.paper", {}, this.canvas, this.labels, this.stale, this.note);
    this.synthetic = new Synthetic(device);
    this.trend = svg("svg.trend", { role: "img", "data-testid": "trend" });
    this.battery = element("span.battery");
    this.measures = element("dl.measures", { "data-testid": "measures", "aria-label": "Measured on the last beats" });
    this.twelve = element("a.button.small", { href: `#/twelve-lead/${encodeURIComponent(device)}`, "data-testid": "twelve-lead" }, "12 leads");
    this.findings = element("ul.findings", { "data-testid": "findings", "aria-label": "Found in the signals" });
    this.root = element(
      "article.card",
      {
        "data-testid": "device-card",
        "data-device": device,
        "data-online": "false",
        id: `device-${device}`,
        tabindex: -1,
        "aria-label": `Device ${device}`,
      },
      element(
        "header",
        {},
        element("div.who", {}, this.name, element("p.about", {}, this.online, this.patient, this.pause)),
        element("div.rate", {}, this.heart, this.rate, element("div.unit", {}, element("span", {}, "/min"), this.source)),
      ),
      this.paper,
      this.synthetic.root,
      this.measures,
      this.findings,
      element(
        "footer",
        {},
        this.limits,
        this.trend,
        element("span.fill"),
        this.battery,
        this.twelve,
      ),
    );
    this.trace = new Trace(this.canvas);
    this.setHeight();
  }

  setHeight() {
    const height = Trace.heightOf(this.trace.rows.length);
    this.canvas.style.height = `${height}px`;
    this.labels.style.height = `${Trace.heightOfRows(this.trace.rows.length)}px`;
  }

  /** Takes the device's status. */
  update(status) {
    this.status = status;
    const names = status.signals.map((signal) => signal.name).filter(isDrawn);
    this.trace.setSignals(names);
    this.setHeight();
    const { patient } = status;
    setText(this.patient, patient ?? "no patient");
    setAttribute(this.patient, "href", patient === null ? null : `#/day/${encodeURIComponent(patient)}/${dayOf(new Date())}`);
    setAttribute(this.patient, "title", patient === null ? null : `The day of ${patient}`);
    const until = status.paused_until ?? null;
    setText(this.pause, until === null ? "" : `Messages paused until ${clockTime(new Date(until))} by ${status.paused_by}`);
    setAttribute(this.root, "data-online", status.online ? "true" : "false");
    setAttribute(this.root, "data-rate-source", status.rate_source);
    setText(this.source, status.rate_source === "ppg" ? "pulse" : status.rate_source === "ecg" ? "ECG" : "");
    const low = Math.round(status.limits.low_bpm);
    const high = Math.round(status.limits.high_bpm);
    setText(this.limits, `${low}–${high}`);
    setAttribute(this.limits, "aria-label", `Alarm limits of ${this.device}: ${low} to ${high} per minute. Change`);
    setAttribute(this.limits, "title", "Alarm limits, per minute. Click to change");
    setText(this.battery, status.battery_percent === null || status.battery_percent === undefined ? "" : `Battery ${Math.round(status.battery_percent)} %`);
    this.battery.classList.toggle("low", (status.battery_percent ?? 100) < 20);
    this.twelve.hidden = names.length > 0 && !names.some(isLead);
    this.showLabels(status);
    this.showMeasures(status);
    this.showFindings(status);
    this.showFreshness(performance.now());
  }

  /**
   * Medians of the last beats: intervals in ms, ST at J + 60 ms in mV, of measured leads only; and what the pulse says of
   * variability, breath and perfusion.
   */
  showMeasures(status) {
    const measured = status.measurement ?? null;
    const pulse = status.pulse ?? null;
    const rows = [];
    const add = (name, value, unit, about) => {
      if (value !== null && value !== undefined) {
        rows.push([name, `${value} ${unit}`, about]);
      }
    };
    if (pulse !== null) {
      const { respiration, variability } = pulse;
      const whole = (value) => (value === null || value === undefined ? null : Math.round(value));
      if (variability !== null) {
        const left = variability.n_premature + variability.n_missed + variability.n_extra + variability.n_odd;
        const about = `Pulse rate variability, not that of the ECG: ${variability.n_pp} intervals of ${Math.round(variability.seconds)} s, ${left} oddities left out`;
        add("PP", whole(variability.mean_pp_ms), "ms", about);
        add("SDPP", whole(variability.sdpp_ms), "ms", about);
        add("RMSSD (PP)", whole(variability.rmssd_ms), "ms", about);
      }
      if (respiration !== null) {
        const about = `Told from the pulse, quality ${Math.round(100 * respiration.quality)} %`;
        add("Breath", whole(respiration.per_minute), `/min (${Math.round(100 * respiration.quality)} %)`, about);
      }
      add("Perfusion", pulse.perfusion_percent, "%", "Amplitude of the pulse against the level of the signal");
      add("Arrival", pulse.arrival_ms, "ms", "From the R peak to the onset of its pulse");
    }
    if (measured !== null) {
      add("PR", measured.pr_ms, "ms");
      add("QRS", measured.qrs_ms, "ms");
      add("QT", measured.qt_ms, "ms");
      add("QTc", measured.qtc_fridericia_ms, "ms");
      add("Axis", measured.axis_degrees, "°");
      for (const [lead, levels] of Object.entries(measured.leads)) {
        const st = levels.st_j60_mv;
        add(`ST ${lead}`, st === null ? null : `${st < 0 ? "−" : "+"}${Math.abs(st).toFixed(2)}`, "mV");
      }
    }
    while (this.measures.children.length > rows.length) {
      this.measures.lastChild.remove();
    }
    rows.forEach(([name, value, about], i) => {
      let row = this.measures.children[i];
      if (row === undefined) {
        row = element("div", {}, element("dt"), element("dd"));
        this.measures.append(row);
      }
      setText(row.firstChild, name);
      setText(row.lastChild, value);
      setAttribute(row, "data-name", name);
      setAttribute(row, "title", about ?? null);
    });
  }

  /** What is found by now: what a model says with its probability, what is not usual for the patient marked. */
  showFindings(status) {
    const found = status.findings ?? [];
    while (this.findings.children.length > found.length) {
      this.findings.lastChild.remove();
    }
    found.forEach((finding, i) => {
      let row = this.findings.children[i];
      if (row === undefined) {
        row = element("li");
        this.findings.append(row);
      }
      setText(row, findingWords(finding));
      setAttribute(row, "data-name", finding.name);
      setAttribute(row, "data-change", finding.change);
      setAttribute(row, "title", `since ${clockTime(finding.since)}, says ${finding.source === "rule" ? "a rule on measured values" : finding.source}`);
    });
  }

  showLabels(status) {
    const drawn = status.signals.filter((signal) => isDrawn(signal.name));
    while (this.labels.children.length > drawn.length) {
      this.labels.lastChild.remove();
    }
    drawn.forEach((signal, i) => {
      let label = this.labels.children[i];
      if (label === undefined) {
        label = element("li", {}, element("b"), element("span.quality"));
        this.labels.append(label);
      }
      const quality = status.quality?.[signal.name];
      setText(label.firstChild, signal.name);
      const score = quality?.score ?? null;
      setText(label.lastChild, quality === undefined ? "" : `${qualityWords(quality.reason)} ${Math.round(100 * score)} %`);
      setAttribute(label, "data-signal", signal.name);
      setAttribute(label, "data-kind", signal.name.startsWith("PPG") ? "ppg" : "ecg");
      setAttribute(label, "data-usable", score === null ? null : score >= USABLE ? "true" : "false");
    });
  }

  /** Takes a block of samples. */
  push(block, now) {
    if (this.status === null || Object.keys(block.signals).some((name) => !this.status.signals.some((s) => s.name === name))) {
      // Signals may be seen before the status that announces them.
      const names = new Set([...(this.status?.signals ?? []).map((s) => s.name), ...Object.keys(block.signals)]);
      this.trace.setSignals([...names].filter(isDrawn));
      this.setHeight();
    }
    this.lastBlockAt = now;
    this.trace.push(block, now);
  }

  /** Takes a beat; the heart blinks when the pen reaches it. Of a device without ECG it is the onset of a pulse. */
  beat(atMs) {
    if (this.status !== null && !this.status.signals.some((signal) => isLead(signal.name))) {
      this.trace.mark(atMs);
    }
    this.beats.push(atMs);
    if (this.beats.length > 100) {
      this.beats.shift();
    }
  }

  get isStale() {
    return this.root.classList.contains("stale");
  }

  /** Greys what is no longer live; called once a second and at each status. */
  showFreshness(now) {
    const silentMs = this.lastBlockAt === null ? null : now - this.lastBlockAt;
    const stale = silentMs === null || silentMs > STALE_MS;
    this.root.classList.toggle("stale", stale);
    this.stale.hidden = !stale;
    if (stale) {
      setText(this.stale, silentMs === null ? "Waiting for data" : `No data for ${elapsed(silentMs)}`);
    }
    const lost = document.documentElement.classList.contains("lost");
    setText(this.online, lost || this.status === null ? "Unknown" : this.status.online ? "Online" : "Offline");
    const bpm = this.status?.bpm;
    const known = !stale && this.status?.online && Number.isFinite(bpm);
    setText(this.rate, known ? String(Math.round(bpm)) : "--");
    setAttribute(this.rate, "aria-label", known ? `${Math.round(bpm)} per minute` : "no rate");
  }

  /** Shows the most urgent of the device's open alarms on the card. */
  showAlarms(alarms) {
    this.alarms = alarms;
    const rank = (alarm) => 10 * PRIORITIES.indexOf(alarm.priority) + (alarm.state === "active" ? 0 : 1);
    const worst = alarms.toSorted((a, b) => rank(a) - rank(b))[0];
    setAttribute(this.root, "data-priority", worst?.priority ?? null);
    setAttribute(this.root, "data-alarm-state", worst?.state ?? null);
    this.note.hidden = worst === undefined;
    if (worst !== undefined) {
      setText(this.note, alarms.length > 1 ? `${conditionWords(worst.condition)} and ${alarms.length - 1} more` : conditionWords(worst.condition));
    }
  }

  /** One animation frame of a visible card. */
  frame(now, calm) {
    this.trace.draw(now);
    const pen = this.trace.pen(now);
    if (pen === null) {
      return;
    }
    while (this.beats.length > 0 && this.beats[0] <= pen) {
      const late = pen - this.beats.shift();
      if (late < 500 && !this.isStale && !calm) {
        this.heart.animate([{ opacity: 1, transform: "scale(1.25)" }, { opacity: 0.35, transform: "scale(1)" }], { duration: 300, easing: "ease-out" });
      }
    }
  }

  /** Publishes how many samples were drawn; a few times a second is enough. */
  showCount() {
    setAttribute(this.canvas, "data-samples-drawn", this.trace.samplesDrawn);
    setAttribute(this.canvas, "data-marks-drawn", this.trace.marksDrawn);
  }

  /** Fetches what is drawn of the pulse wave every few seconds, where the service says that it may be asked for. */
  async refreshSynthetic(now) {
    if (this.status?.synthetic !== true || this.isStale) {
      this.synthetic.hide();
      return;
    }
    if (this.syntheticAt !== null && now - this.syntheticAt < SYNTHETIC_EVERY_MS) {
      return;
    }
    this.syntheticAt = now;
    try {
      const answer = await api.synthetic(this.device);
      if (!this.isStale) {
        this.synthetic.show(answer);
      }
    } catch (error) {
      this.synthetic.hide();
      console.info(error.message);
    }
  }

  /** Fetches the last hour of the rate, at most once a minute. */
  async refreshTrend(now) {
    if (this.trendAt !== null && now - this.trendAt < TREND_EVERY_MS) {
      return;
    }
    this.trendAt = now;
    const until = new Date();
    try {
      drawTrend(this.trend, await api.trends(this.device, new Date(until.getTime() - SPAN_MINUTES * 60_000)), until);
    } catch (error) {
      console.warn(`no trend of ${this.device}: ${error.message}`);
    }
  }
}
