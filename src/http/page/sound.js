// The alarm sound: off until somebody switches it on, since browsers allow no sound before a click
// and a room may have many of these pages. Bursts of pulses after IEC 60601-1-8: ten for high,
// three for medium, two for low priority.

import { PRIORITIES } from "./wording.js";

const PATTERNS = {
  high: { pulses: [0, 0.2, 0.4, 0.75, 0.95, 1.6, 1.8, 2.0, 2.35, 2.55], length: 0.13, hertz: 660, everyMs: 7_000 },
  medium: { pulses: [0, 0.35, 0.7], length: 0.2, hertz: 520, everyMs: 15_000 },
  low: { pulses: [0, 0.35], length: 0.2, hertz: 400, everyMs: 30_000 },
};

export class Sound {
  constructor(button) {
    this.button = button;
    this.context = null;
    this.on = false;
    this.lastPriority = null;
    this.lastAt = 0;
    button.addEventListener("click", () => this.toggle());
  }

  async toggle() {
    this.on = !this.on;
    this.button.setAttribute("aria-pressed", String(this.on));
    this.button.textContent = this.on ? "Alarm sound on" : "Alarm sound off";
    if (this.on) {
      this.context ??= new AudioContext();
      await this.context.resume();
      this.lastPriority = null;
    } else {
      await this.context?.suspend();
    }
  }

  /** Sounds what the most urgent unattended alarm asks for; called once a second. */
  tick(alarms, now) {
    if (!this.on) {
      return;
    }
    const priority = PRIORITIES.find((candidate) => alarms.some((alarm) => alarm.priority === candidate)) ?? null;
    const pattern = PATTERNS[priority];
    if (pattern !== undefined && (priority !== this.lastPriority || now - this.lastAt >= pattern.everyMs)) {
      this.burst(pattern);
      this.lastAt = now;
    }
    this.lastPriority = priority;
  }

  burst({ pulses, length, hertz }) {
    const begin = this.context.currentTime + 0.05;
    for (const pulse of pulses) {
      const tone = this.context.createOscillator();
      const volume = this.context.createGain();
      tone.type = "triangle";
      tone.frequency.value = hertz;
      volume.gain.setValueAtTime(0, begin + pulse);
      volume.gain.linearRampToValueAtTime(0.25, begin + pulse + 0.02);
      volume.gain.setValueAtTime(0.25, begin + pulse + length - 0.03);
      volume.gain.linearRampToValueAtTime(0, begin + pulse + length);
      tone.connect(volume).connect(this.context.destination);
      tone.start(begin + pulse);
      tone.stop(begin + pulse + length);
    }
  }
}
