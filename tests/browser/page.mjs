// Drives the page of a running `einthoven demo` in Chromium, as a person at the station would.
//
// usage: node page.mjs BASE_URL CHROMIUM SCREENSHOT_DIR
//
// Prints one line per check and leaves page.png, pulse.png, strip.png, limits.png, day.png and phone.png in SCREENSHOT_DIR. Exits
// with 1 and leaves failure.png at the first check that fails. Needs `npm ci` in this folder.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { performance } from "node:perf_hooks";

import { chromium } from "playwright-core";

const DEVICES_AT_LEAST = 4;
const LIVE_WITHIN_MS = 30_000;
const ALARM_WITHIN_MS = 60_000;
const SAMPLES_OF_MOVEMENT = 500;
/** Half a minute of pulses, and more where they are not even. */
const PULSE_WITHIN_MS = 90_000;
/** A strip is stored once its window is complete. */
const STRIP_WITHIN_MS = 30_000;
const BY = "browser test";
const TWELVE = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];

const [base, chromiumPath, screenshots] = process.argv.slice(2);
if (screenshots === undefined) {
  console.error("usage: node page.mjs BASE_URL CHROMIUM SCREENSHOT_DIR");
  process.exit(2);
}

const device = (name) => `[data-testid="device-card"][data-device="${name}"]`;

/** Runs one check and says how long it took. */
async function check(name, body) {
  const begin = performance.now();
  const result = await body();
  console.log(`ok   ${name} (${((performance.now() - begin) / 1000).toFixed(1)} s)`);
  return result;
}

async function api(method, where, body) {
  const response = await fetch(new URL(where, base), {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  assert.equal(response.ok, true, `${method} ${where} answered with ${response.status}`);
  return response.json();
}

/** Repeats `look` until it returns something, failing with `what` after `withinMs`. */
async function until(what, withinMs, look) {
  const end = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) {
      return found;
    }
    assert.ok(performance.now() < end, `${what} did not happen within ${withinMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

/** The pixels of a device's trace. */
async function pixels(page, name) {
  const url = await page.locator(`${device(name)} [data-testid="trace"]`).evaluate((canvas) => canvas.toDataURL());
  return createHash("sha256").update(url).digest("hex");
}

function samplesDrawn(page) {
  return page.locator('[data-testid="device-card"]').evaluateAll((cards) =>
    Object.fromEntries(cards.map((card) => [card.dataset.device, Number(card.querySelector('[data-testid="trace"]').dataset.samplesDrawn)])),
  );
}

async function run(page, problems) {
  await page.goto(new URL("/", base).href);

  const names = await check(`at least ${DEVICES_AT_LEAST} devices are live`, () =>
    until(`${DEVICES_AT_LEAST} live devices`, LIVE_WITHIN_MS, async () => {
      const live = await page
        .locator('[data-testid="device-card"][data-online="true"]:not(.stale)')
        .evaluateAll((cards) => cards.map((card) => card.dataset.device));
      return live.length >= DEVICES_AT_LEAST ? live : null;
    }),
  );
  console.log(`     ${names.join(", ")}`);

  await check("a rate is shown", () =>
    until("a rate", LIVE_WITHIN_MS, async () => {
      const rates = await page.locator('[data-testid="rate"]').allTextContents();
      return rates.some((rate) => /^\d{2,3}$/.test(rate.trim()));
    }),
  );

  await check("every live trace on the screen moves", async () => {
    for (const name of names.slice(0, DEVICES_AT_LEAST)) {
      await page.locator(device(name)).scrollIntoViewIfNeeded();
      const image = await pixels(page, name);
      const before = (await samplesDrawn(page))[name];
      // The counter is published a few times a second: this is more than it can be behind.
      await until(`movement of ${name}`, 15_000, async () => (await samplesDrawn(page))[name] >= before + SAMPLES_OF_MOVEMENT);
      assert.notEqual(await pixels(page, name), image, `the pixels of ${name} did not change`);
    }
    await page.evaluate(() => scrollTo(0, 0));
  });

  const alarm = await check("a high-priority asystole alarm appears", async () => {
    const row = page.locator('[data-testid="alarm"][data-priority="high"][data-condition="asystole"]:is([data-state="active"], [data-state="latched"])').first();
    await row.waitFor({ state: "visible", timeout: ALARM_WITHIN_MS });
    const id = await row.getAttribute("data-alarm");
    const listed = (await api("GET", "/api/v1/alarms?open=true")).alarms.find((candidate) => candidate.id === id);
    assert.ok(listed !== undefined, `alarm ${id} is on the page but not in the API`);
    assert.equal(listed.priority, "high");
    assert.equal(listed.condition, "asystole");
    console.log(`     ${listed.device}: ${listed.evidence}`);
    return id;
  });
  await page.screenshot({ path: path.join(screenshots, "page.png"), animations: "disabled" });

  const row = page.locator(`[data-testid="alarm"][data-alarm="${alarm}"]`);

  await check("an alarm explains itself", async () => {
    await row.locator('[data-testid="about"] summary').focus();
    await page.keyboard.press("Enter");
    await until("the line of the table", 5_000, async () => (await row.locator('[data-testid="about"]').textContent()).includes("no QRS for 4 s"));
    await page.keyboard.press("Enter");
  });

  await check("acknowledging it asks for a name once and changes page and API", async () => {
    await row.locator('[data-testid="acknowledge"]').click();
    await page.locator('[data-testid="name-dialog"]').waitFor({ state: "visible" });
    await page.locator('[data-testid="name"]').fill(BY);
    await page.locator('[data-testid="name-save"]').click();
    // It is cleared, and gone from the page, if the heart had beaten again by then.
    const shown = await until("acknowledgement on the page", 10_000, async () => {
      if ((await row.count()) === 0) {
        return "cleared";
      }
      // The row may go between the two questions: do not wait for it.
      const state = await row.getAttribute("data-state", { timeout: 500 }).catch(() => null);
      return state === "acknowledged" ? state : null;
    });
    const stored = await api("GET", `/api/v1/alarms/${alarm}`);
    assert.ok(["acknowledged", "cleared"].includes(stored.state), `the API says ${stored.state}, the page ${shown}`);
    assert.equal(stored.acknowledged_by, BY);
    assert.equal(await page.evaluate(() => localStorage.getItem("einthoven.name")), BY);
  });

  await check("the strip shows twelve leads, reconstructed ones marked", async () => {
    const strip = await until("a strip of the alarm", STRIP_WITHIN_MS, async () => (await api("GET", `/api/v1/alarms/${alarm}`)).strip);
    const link = row.locator('[data-testid="strip"]');
    if ((await link.count()) > 0) {
      await link.waitFor({ state: "visible", timeout: 10_000 }).catch(() => {});
    }
    if ((await link.count()) > 0 && (await link.isVisible())) {
      await link.click();
    } else {
      await page.goto(new URL(`/#/strip/${alarm}`, base).href);
    }
    const leads = page.locator('[data-testid="strip-view"] [data-testid="lead"]');
    await leads.first().waitFor({ state: "visible", timeout: 10_000 });
    const shown = await leads.evaluateAll((groups) =>
      groups.map((group) => {
        const wave = group.querySelector(".wave");
        return {
          name: group.dataset.lead,
          origin: group.dataset.origin,
          text: group.textContent,
          dashed: wave !== null && getComputedStyle(wave).strokeDasharray !== "none",
          banded: group.querySelector('[data-testid="band"]') !== null,
        };
      }),
    );
    assert.deepEqual(shown.map((lead) => lead.name).sort(), [...TWELVE].sort());
    const stored = await api("GET", strip);
    for (const signal of stored.signals.filter((candidate) => TWELVE.includes(candidate.name))) {
      const lead = shown.find((candidate) => candidate.name === signal.name);
      assert.equal(lead.origin, signal.origin, `origin of lead ${signal.name}`);
      const reconstructed = signal.origin === "reconstructed";
      assert.equal(lead.dashed, reconstructed, `whether lead ${signal.name} is dashed`);
      assert.equal(lead.text.includes("reconstructed"), reconstructed, `label of lead ${signal.name}`);
      assert.equal(lead.banded, reconstructed, `whether lead ${signal.name} has a band`);
      assert.equal(signal.band !== undefined, reconstructed, `whether the API gives a band of lead ${signal.name}`);
    }
    assert.ok(shown.some((lead) => lead.origin === "reconstructed"), "no lead is marked as reconstructed");
    assert.ok(shown.some((lead) => lead.origin === "measured"), "no lead is measured");
    assert.ok(stored.trust >= 0 && stored.trust <= 1 && stored.novelty >= 0 && stored.novelty <= 1, "trust and novelty are given");
    assert.equal(stored.withheld, null);
    const sources = await page.locator('[data-testid="strip-view"]').textContent();
    assert.ok(sources.includes("trust ") && sources.includes("novelty "), "trust and novelty are shown");
  });
  await page.screenshot({ path: path.join(screenshots, "strip.png"), fullPage: true });

  await check("the way back leads to the live devices", async () => {
    await page.locator('[data-testid="back"]').click();
    await page.locator('[data-testid="device-card"]').first().waitFor({ state: "visible" });
  });

  await check("a pause is shown with its end and who asked for it", async () => {
    const [name] = names;
    const where = `/api/v1/devices/${name}/pause`;
    const shown = page.locator(`${device(name)} [data-testid="pause"]`);
    await api("PUT", where, { minutes: 5, by: BY });
    await until("the pause", 10_000, async () => (await shown.textContent()).endsWith(`by ${BY}`));
    await api("DELETE", `${where}?by=${encodeURIComponent(BY)}`);
    await until("its end", 10_000, async () => (await shown.textContent()) === "");
  });

  await check("proposed limits are put in force by somebody, and only then", async () => {
    const patient = "patient-sinus";
    const limits = `/api/v1/patients/${patient}/limits`;
    const before = await api("GET", limits);
    assert.equal(before.own.high_bpm, null);
    const { device: name } = (await api("GET", "/api/v1/devices")).devices.find((candidate) => candidate.patient === patient);
    const button = page.locator(`${device(name)} button.limits`);
    await button.focus();
    await page.keyboard.press("Enter");
    const confirm = page.locator('[data-testid="confirm-proposal"]');
    await confirm.waitFor({ state: "visible", timeout: 10_000 });
    const proposal = await page.locator('[data-testid="proposal"]').textContent();
    assert.ok(proposal.includes("3.0 h of signal") && proposal.includes("180 usable minutes"), proposal);
    assert.deepEqual((await api("GET", limits)).own, before.own, "limits in force before anybody confirmed them");
    // What the service refuses is said in its words.
    await page.locator('#limits-dialog [name="pause_seconds"]').fill("4");
    await page.locator('[data-testid="set-limits"]').click();
    const problem = page.locator('[data-testid="limits-problem"]');
    await until("a refusal", 5_000, async () => (await problem.textContent()).includes("less than asystole = 4 s"));
    await page.screenshot({ path: path.join(screenshots, "limits.png") });
    await confirm.focus();
    await page.keyboard.press("Enter");
    await page.locator('[data-testid="limits-dialog"]').waitFor({ state: "hidden", timeout: 10_000 });
    const { own } = await api("GET", limits);
    assert.deepEqual([own.low_bpm, own.high_bpm, own.pause_seconds], [50, 100, null]);
    const { changes } = await api("GET", `${limits}/changes`);
    assert.equal(changes.length, 1);
    assert.deepEqual([changes[0].by, changes[0].before.high_bpm, changes[0].after.high_bpm], [BY, null, 100]);
    await until("the card's new limits", 10_000, async () => (await button.textContent()) === "50–100");
  });

  await check("the day of a patient is one click away", async () => {
    await page.locator(`${device("demo-ectopy")} [data-testid="day"]`).click();
    const facts = page.locator('[data-testid="day-facts"]');
    await facts.waitFor({ state: "visible", timeout: 10_000 });
    assert.match(await facts.textContent(), /demo-ectopy/);
    await page.screenshot({ path: path.join(screenshots, "day.png"), fullPage: true });
    await page.locator('[data-testid="history-view"] [data-testid="back"]').click();
    await page.locator('[data-testid="device-card"]').first().waitFor({ state: "visible" });
  });

  await check("a pulse without ECG has rate, variability, breath and quality as numbers", async () => {
    const card = page.locator(device("demo-ppg"));
    const measured = async (name) => {
      const value = card.locator(`[data-testid="measures"] [data-name="${name}"] dd`);
      return (await value.count()) > 0 ? value.textContent() : "";
    };
    await until("variability of the pulse", PULSE_WITHIN_MS, async () => /^\d+ ms$/.test(await measured("RMSSD (PP)")));
    await until("breath", PULSE_WITHIN_MS, async () => /^\d+ \/min \(\d+ %\)$/.test(await measured("Breath")));
    assert.match(await measured("PP"), /^\d{3,4} ms$/);
    assert.match(await card.locator('[data-testid="rate"]').textContent(), /^\d{2,3}$/);
    assert.equal(await card.getAttribute("data-rate-source"), "ppg");
    assert.match(await card.locator(".labels li .quality").first().textContent(), / \d+ %$/);
    assert.equal(await card.locator('[data-testid="twelve-lead"]').isVisible(), false, "a way to twelve leads of no ECG");
    await card.scrollIntoViewIfNeeded();
    const marks = card.locator('[data-testid="trace"]');
    await until("marks at the onsets", 15_000, async () => Number(await marks.getAttribute("data-marks-drawn")) >= 3);
    const { pulse } = await api("GET", "/api/v1/devices/demo-ppg");
    assert.ok(pulse.variability.rmssd_ms > 0 && pulse.variability.n_pp >= 30, JSON.stringify(pulse));
    assert.ok(pulse.respiration.quality > 0 && pulse.respiration.per_minute >= 4, JSON.stringify(pulse));
    await page.screenshot({ path: path.join(screenshots, "pulse.png") });
    await page.evaluate(() => scrollTo(0, 0));
  });

  await check("what is drawn of a pulse is called synthetic, and only there", async () => {
    const card = page.locator(device("demo-ppg"));
    await card.scrollIntoViewIfNeeded();
    const figure = card.locator('[data-testid="synthetic"]');
    await figure.waitFor({ state: "visible", timeout: 30_000 });
    assert.match(await figure.textContent(), /^Synthetic, not an ECG: drawn from PPG-green by ppg-ecg-1 /);
    assert.ok((await figure.locator("polyline").getAttribute("points")).split(" ").length === 2500);
    const dashes = await figure.locator("polyline").evaluate((line) => getComputedStyle(line).strokeDasharray);
    assert.notEqual(dashes, "none");
    const other = page.locator(device("demo-sinus")).locator('[data-testid="synthetic"]');
    assert.equal(await other.isVisible(), false, "a synthetic trace beside an ECG");
    await page.screenshot({ path: path.join(screenshots, "synthetic.png") });
    await page.evaluate(() => scrollTo(0, 0));
  });

  await check("the page fits a phone", async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `the page is ${overflow} px wider than the screen`);
    await page.screenshot({ path: path.join(screenshots, "phone.png") });
    await page.setViewportSize({ width: 1400, height: 900 });
  });

  await check("a lost connection is said, and old traces do not look live", async () => {
    // The stream that is open outlives context.setOffline in some versions, so the page is
    // loaded again with the stream blocked.
    await page.route("**/api/v1/live", (route) => route.abort());
    await page.reload();
    await page.locator('[data-testid="banner"]').waitFor({ state: "visible", timeout: 20_000 });
    await page.locator('[data-testid="device-card"].stale').first().waitFor({ state: "visible", timeout: 10_000 });
    assert.equal(await page.locator('[data-testid="device-card"]:not(.stale)').count(), 0, "cards without data that look live");
    await page.unroute("**/api/v1/live");
    await page.locator('[data-testid="banner"]').waitFor({ state: "hidden", timeout: 30_000 });
  });

  assert.deepEqual(problems, [], "the page raised errors or asked other hosts");
}

await mkdir(screenshots, { recursive: true });
const browser = await chromium.launch({
  executablePath: chromiumPath,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
let failed = false;
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 900 }, colorScheme: "dark" });
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== new URL(base).origin) {
      problems.push(`request to ${url.origin}`);
    }
  });
  try {
    await run(page, problems);
  } catch (error) {
    failed = true;
    console.error(`FAIL ${error.stack ?? error}`);
    await page.screenshot({ path: path.join(screenshots, "failure.png"), fullPage: true }).catch(() => {});
  }
} finally {
  await browser.close();
}
process.exitCode = failed ? 1 : 0;
