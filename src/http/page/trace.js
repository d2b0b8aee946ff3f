// Live traces of one device on one canvas, one row per signal, swept from left to right like a
// bedside monitor: new samples overwrite the oldest behind a short blank bar.
//
// Scale: PX_PER_MM pixels stand for one millimetre of ECG paper on both axes, 25 mm/s and
// 10 mm/mV, so 1 mV is as high as 0.4 s is wide. The paper itself is a CSS background with the
// same constant (--mm). A PPG has no absolute scale and is fitted to its row.
//
// Timing: blocks of about a second arrive in bursts; the pen runs DELAY_MS behind the newest
// sample on the device's own clock, so that it moves smoothly. Samples that are missing stay
// blank: nothing is drawn across a gap.

export const PX_PER_MM = 3;
const PX_PER_SECOND = 25 * PX_PER_MM;
const PX_PER_MV = 10 * PX_PER_MM;
const ROW_MM = 24;
/** Room above the first row, for what is written on the paper. */
const HEAD_MM = 8;
const ROWS_AT_LEAST = 3;
const DELAY_MS = 1_500;
const BLANK_MS = 300;
/** Blocks whose ends are further apart than this are not connected. */
const JOIN_MS = 60;
/** Where the pen may be off by this much, it jumps instead of running after. */
const JUMP_MS = 3_000;
/** The radius of the dot at the onset of a pulse. */
const MARK_PX = 2.5;

export class Trace {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.rows = [];
    this.samplesDrawn = 0;
    /** Onsets of pulses in device time, in order, and how many were drawn. */
    this.marks = [];
    this.marksDrawn = 0;
    this.width = 0;
    this.height = 0;
    /** Device time minus page time in ms, once known. */
    this.offset = null;
    /** Device time of the end of the newest block. */
    this.newest = null;
    /** Device time up to which is drawn, and up to which is wiped. */
    this.drawnTo = null;
    this.wipedTo = null;
    this.colours = { ecg: "#fff", ppg: "#fff", mark: "#fff" };
  }

  /** The height in CSS pixels for `n` signals. */
  static heightOf(n) {
    return Trace.heightOfRows(n) + HEAD_MM * PX_PER_MM;
  }

  /** The same without the room above the first row. */
  static heightOfRows(n) {
    return Math.max(n, ROWS_AT_LEAST) * ROW_MM * PX_PER_MM;
  }

  /** Says which signals there are, in order from top to bottom. */
  setSignals(names) {
    if (names.length === this.rows.length && names.every((name, i) => name === this.rows[i].name)) {
      return;
    }
    const old = new Map(this.rows.map((row) => [row.name, row]));
    this.rows = names.map((name) => old.get(name) ?? new Row(name));
    this.layOut();
  }

  resize(width) {
    const height = Trace.heightOf(this.rows.length);
    if (width === this.width && height === this.height) {
      return;
    }
    this.width = width;
    this.height = height;
    this.layOut();
  }

  layOut() {
    const ratio = devicePixelRatio || 1;
    this.height = Trace.heightOf(this.rows.length);
    this.canvas.width = Math.max(1, Math.round(this.width * ratio));
    this.canvas.height = Math.max(1, Math.round(this.height * ratio));
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const head = HEAD_MM * PX_PER_MM;
    const rowHeight = (this.height - head) / Math.max(1, this.rows.length);
    this.rows.forEach((row, i) => {
      row.top = head + i * rowHeight;
      row.height = rowHeight;
    });
    this.redraw();
  }

  /** Reads the trace colours from the theme. */
  setColours(ecg, ppg, mark) {
    this.colours = { ecg, ppg, mark };
    this.redraw();
  }

  /** The time one sweep over the canvas takes, in ms. */
  get sweepMs() {
    return (Math.max(this.width, 1) / PX_PER_SECOND) * 1000;
  }

  /** Takes one block of every signal; `now` is the page's clock in ms. */
  push(block, now) {
    let newest = null;
    for (const [name, samples] of Object.entries(block.signals)) {
      const row = this.rows.find((candidate) => candidate.name === name);
      if (row === undefined || samples.length === 0 || !(block.rate_hz > 0)) {
        continue;
      }
      const period = 1000 / block.rate_hz;
      const end = block.start_ms + samples.length * period;
      row.push({ start: block.start_ms, end, period, samples }, this.sweepMs + JUMP_MS);
      newest = newest === null ? end : Math.max(newest, end);
    }
    if (newest === null) {
      return;
    }
    if (this.newest === null || newest > this.newest || this.newest - newest > JUMP_MS) {
      this.newest = newest;
    }
    const offset = newest - now;
    if (this.offset === null || Math.abs(offset - this.offset) > JUMP_MS) {
      this.offset = offset;
      if (this.drawnTo !== null && this.pen(now) < this.drawnTo) {
        // A new record, or a clock set back: begin again.
        this.redraw(now);
      }
    } else {
      // Early blocks pull the pen forward quickly, late ones hold it back slowly.
      this.offset += (offset - this.offset) * (offset > this.offset ? 0.2 : 0.02);
    }
  }

  /** Takes the onset of a pulse, to be marked on what shows a pulse. */
  mark(at) {
    if (this.marks.length > 0 && at < this.marks.at(-1)) {
      this.marks = [];
    }
    this.marks.push(at);
    while (this.marks[0] < at - this.sweepMs - JUMP_MS) {
      this.marks.shift();
    }
  }

  /** The device time under the pen. It waits at the newest sample: what was drawn last stays. */
  pen(now) {
    return this.offset === null ? null : Math.min(now + this.offset - DELAY_MS, this.newest);
  }

  /** Draws everything the canvas can hold up to where the pen is. */
  redraw(now = performance.now()) {
    this.context.clearRect(0, 0, this.width, this.height);
    for (const row of this.rows) {
      row.last = null;
    }
    const pen = this.pen(now);
    if (pen === null) {
      return;
    }
    this.drawnTo = pen - this.sweepMs + BLANK_MS;
    this.wipedTo = pen;
    const [drawn, marked] = [this.samplesDrawn, this.marksDrawn];
    this.draw(now);
    [this.samplesDrawn, this.marksDrawn] = [drawn, marked];
  }

  /** Moves the pen to where it should be at `now`. Returns whether it drew anything. */
  draw(now) {
    const pen = this.pen(now);
    if (pen === null || this.width === 0) {
      return false;
    }
    if (this.drawnTo === null || pen - this.drawnTo > this.sweepMs) {
      this.drawnTo = pen - this.sweepMs + BLANK_MS;
      this.wipedTo = this.drawnTo;
      for (const row of this.rows) {
        row.last = null;
      }
    }
    if (pen <= this.drawnTo) {
      return false;
    }
    this.wipe(pen + BLANK_MS);
    const before = this.samplesDrawn;
    for (const row of this.rows) {
      this.samplesDrawn += this.drawRow(row, this.drawnTo, pen);
      if (row.ppg) {
        this.marksDrawn += this.drawMarks(row, this.drawnTo, pen);
      }
    }
    this.drawnTo = pen;
    return this.samplesDrawn > before;
  }

  x(time) {
    const sweep = this.sweepMs;
    return ((((time % sweep) + sweep) % sweep) / 1000) * PX_PER_SECOND;
  }

  wipe(to) {
    if (to <= this.wipedTo) {
      return;
    }
    const from = Math.max(this.wipedTo, to - this.sweepMs);
    const left = this.x(from);
    const width = ((to - from) / 1000) * PX_PER_SECOND;
    this.context.clearRect(left, 0, width, this.height);
    if (left + width > this.width) {
      this.context.clearRect(0, 0, left + width - this.width, this.height);
    }
    this.wipedTo = to;
  }

  drawMarks(row, from, to) {
    const context = this.context;
    context.fillStyle = this.colours.mark;
    let drawn = 0;
    for (const at of this.marks) {
      const y = at > from && at <= to ? row.at(at) : null;
      if (y !== null) {
        context.beginPath();
        context.arc(this.x(at), y, MARK_PX, 0, 2 * Math.PI);
        context.fill();
        drawn += 1;
      }
    }
    return drawn;
  }

  drawRow(row, from, to) {
    const context = this.context;
    context.strokeStyle = row.ppg ? this.colours.ppg : this.colours.ecg;
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    let drawn = 0;
    let last = row.last;
    if (last !== null) {
      context.moveTo(last.x, last.y);
    }
    for (const block of row.blocks) {
      if (block.end <= from || block.start > to) {
        continue;
      }
      let i = Math.max(0, Math.ceil((from - block.start) / block.period));
      for (; i < block.samples.length; i += 1) {
        const time = block.start + i * block.period;
        if (time > to) {
          break;
        }
        if (time <= from || (last !== null && time <= last.time)) {
          continue;
        }
        const x = this.x(time);
        const y = row.y(block, i);
        if (last === null || x < last.x || time - last.time > block.period + JOIN_MS) {
          context.moveTo(x, y);
        } else {
          context.lineTo(x, y);
        }
        last = { time, x, y };
        drawn += 1;
      }
    }
    context.stroke();
    row.last = last;
    return drawn;
  }
}

/** One signal: its recent blocks and where it is drawn. */
class Row {
  constructor(name) {
    this.name = name;
    this.ppg = name.startsWith("PPG");
    this.blocks = [];
    this.last = null;
    this.top = 0;
    this.height = ROW_MM * PX_PER_MM;
    /** µV of the baseline for an ECG, middle of the range for a PPG. */
    this.centre = null;
    this.range = 1;
  }

  push(block, keepMs) {
    const newest = this.blocks.at(-1);
    if (newest !== undefined && block.start < newest.start) {
      // Time went back: an older block that came late is of no use on a sweep, a new record is
      // all there is from now on.
      if (newest.start - block.start < JUMP_MS) {
        return;
      }
      this.blocks = [];
      this.last = null;
      this.centre = null;
    }
    this.follow(block);
    this.blocks.push(block);
    while (this.blocks[0].end < block.end - keepMs) {
      this.blocks.shift();
    }
  }

  /** Lets the baseline of an ECG, or the range of a PPG, follow slowly. */
  follow(block) {
    const sorted = Float64Array.from(block.samples).sort();
    let centre = sorted[sorted.length >> 1];
    if (this.ppg) {
      const low = sorted[0];
      const high = sorted[sorted.length - 1];
      centre = (low + high) / 2;
      const range = Math.max(high - low, 1);
      this.range = this.centre === null || range > this.range ? range : this.range + (range - this.range) * 0.1;
    }
    this.centre = this.centre === null ? centre : this.centre + (centre - this.centre) * 0.15;
    block.centre = this.centre;
    block.range = this.range;
  }

  /** Where the trace is at an instant; null where nothing is drawn. */
  at(time) {
    const block = this.blocks.find((candidate) => candidate.start <= time && time < candidate.end);
    if (block === undefined) {
      return null;
    }
    return this.y(block, Math.min(block.samples.length - 1, Math.round((time - block.start) / block.period)));
  }

  y(block, i) {
    const value = block.samples[i] - block.centre;
    if (this.ppg) {
      return this.top + this.height / 2 - (value / block.range) * Math.min(this.height, 40 * PX_PER_MM) * 0.7;
    }
    // Below the middle: an R wave reaches further up than an S wave down.
    return this.top + this.height * 0.58 - (value / 1000) * PX_PER_MV;
  }
}
