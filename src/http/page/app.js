// The central station: what arrives goes to the card or alarm it concerns; what is seen is drawn.
//
// Only cards on the screen draw. Everything else is told by two clocks: an animation frame for
// pens and hearts, and one second for whatever shows how old something is.

import * as api from "./api.js";
import { Alarms } from "./alarms.js";
import { Card } from "./card.js";
import { showDay } from "./day.js";
import { forgetName, rememberedName } from "./dialogs.js";
import { setText } from "./element.js";
import { askLimits } from "./limits.js";
import { Live } from "./live.js";
import { Sound } from "./sound.js";
import { showAlarm, showHistory, showTwelveLead } from "./views.js";
import { clockTime, count } from "./wording.js";

const REFRESH_MS = 15_000;
/** An alarm's strip is stored some seconds after the alarm: look again sooner while one is due. */
const STRIP_DUE_MS = 60_000;
const STRIP_LOOK_MS = 3_000;
const FRAME_MS = 30;
const COUNT_MS = 250;

const $ = (id) => document.getElementById(id);
const cards = new Map();
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const alarms = new Alarms({ list: $("alarms"), none: $("no-alarms"), announcer: $("announcer") }, showAlarms);
const sound = new Sound($("sound"));
/** Whether the live stream is up, and since when it is not. */
let connected = null;
let lostAt = null;
let reachable = true;

// Cards -------------------------------------------------------------------------------------

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const card = cards.get(entry.target.dataset.device);
      if (card === undefined) {
        continue;
      }
      card.visible = entry.isIntersecting;
      if (card.visible) {
        card.trace.redraw();
        card.refreshTrend(performance.now());
      }
    }
  },
  { rootMargin: "100px" },
);

const sized = new ResizeObserver((entries) => {
  for (const entry of entries) {
    cards.get(entry.target.closest("article").dataset.device)?.trace.resize(entry.contentRect.width);
  }
});

function cardOf(device) {
  let card = cards.get(device);
  if (card !== undefined) {
    return card;
  }
  card = new Card(device, (which) => askLimits(which, refresh));
  cards.set(device, card);
  const next = [...$("cards").children].find((other) => other.dataset.device.localeCompare(device, undefined, { numeric: true }) > 0);
  $("cards").insertBefore(card.root, next ?? null);
  colour(card);
  card.showAlarms(alarms.of(device));
  applyFilter(card);
  seen.observe(card.root);
  sized.observe(card.paper);
  $("empty").hidden = true;
  return card;
}

function takeStatus(status) {
  const card = cardOf(status.device);
  card.update(status);
  applyFilter(card);
  showSummary();
}

function takeTrace(block) {
  cardOf(block.device).push(block, performance.now());
}

function showAlarms() {
  for (const card of cards.values()) {
    card.showAlarms(alarms.of(card.device));
  }
  showSummary();
}

function showSummary() {
  const online = [...cards.values()].filter((card) => card.status?.online).length;
  const parts = [count(cards.size, "device"), `${online} online`, count(alarms.open.size, "alarm")];
  setText($("summary"), parts.join(" · "));
  const waiting = alarms.unattended().length;
  document.title = waiting > 0 ? `(${waiting}) einthoven` : "einthoven";
}

function applyFilter(card) {
  const text = $("filter").value.trim().toLowerCase();
  card.root.hidden = text !== "" && !`${card.device} ${card.status?.patient ?? ""}`.toLowerCase().includes(text);
}

$("filter").addEventListener("input", () => {
  for (const card of cards.values()) {
    applyFilter(card);
  }
});

// Name --------------------------------------------------------------------------------------

function showName() {
  const name = rememberedName();
  $("who").hidden = name === null;
  setText($("who-name"), name ?? "");
}

$("forget").addEventListener("click", () => {
  forgetName();
  showName();
});

// Theme -------------------------------------------------------------------------------------

function colour(card) {
  const style = getComputedStyle(document.documentElement);
  card.trace.setColours(style.getPropertyValue("--ecg").trim(), style.getPropertyValue("--ppg").trim(), style.getPropertyValue("--text").trim());
}

function showTheme() {
  setText($("theme"), document.documentElement.dataset.theme === "dark" ? "Light theme" : "Dark theme");
}

$("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("einthoven.theme", theme);
  } catch {
    // It then lasts until the page is loaded again.
  }
  for (const card of cards.values()) {
    colour(card);
  }
  showTheme();
});

// Connection --------------------------------------------------------------------------------

function showConnection() {
  const banner = $("banner");
  const lost = connected === false || !reachable;
  if (lost) {
    lostAt ??= new Date();
    setText(banner, `Connection to the service lost at ${clockTime(lostAt)}. What you see is not live. Trying again…`);
  } else {
    lostAt = null;
  }
  banner.hidden = !lost;
  document.documentElement.classList.toggle("lost", lost);
}

async function refresh() {
  try {
    const [devices, open] = await Promise.all([api.devices(), api.openAlarms()]);
    devices.forEach(takeStatus);
    alarms.replace(open);
    reachable = true;
    $("empty").hidden = cards.size > 0;
    showSummary();
  } catch (error) {
    reachable = error.status !== 0 && error.status < 500;
    console.warn(`refresh failed: ${error.message}`);
  }
  showConnection();
}

new Live(
  {
    trace: takeTrace,
    beat: ({ device, at_ms: at }) => cards.get(device)?.beat(at),
    status: takeStatus,
    alarm: (alarm) => alarms.update(alarm),
    lagged: () => refresh(),
  },
  (up) => {
    connected = up;
    showConnection();
    if (up) {
      refresh();
    }
  },
);

// Views -------------------------------------------------------------------------------------

let visit = 0;

function route() {
  visit += 1;
  const mine = visit;
  const isCurrent = () => mine === visit;
  let [, view = "", argument = "", more = ""] = location.hash.split("/");
  try {
    argument = decodeURIComponent(argument);
    more = decodeURIComponent(more);
  } catch {
    view = "";
  }
  const views = { station: $("station"), strip: $("strip-view"), history: $("history-view") };
  const show = (name) => {
    for (const [key, node] of Object.entries(views)) {
      node.hidden = key !== name;
    }
    scrollTo(0, 0);
  };
  if (view === "strip" && argument !== "") {
    show("strip");
    showAlarm(views.strip, argument, isCurrent);
  } else if (view === "twelve-lead" && argument !== "") {
    show("strip");
    showTwelveLead(views.strip, argument, isCurrent);
  } else if (view === "day" && argument !== "") {
    show("history");
    showDay(views.history, argument, more, isCurrent);
  } else if (view === "alarms") {
    show("history");
    showHistory(views.history, isCurrent);
  } else {
    show("station");
    const card = view === "device" ? cards.get(argument) : undefined;
    if (card !== undefined) {
      card.root.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
      card.root.focus({ preventScroll: true });
    }
  }
}

addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("station").hidden && document.querySelector("dialog[open]") === null) {
    location.hash = "#/";
  }
});

// Clocks ------------------------------------------------------------------------------------

let lastFrame = 0;
let lastCount = 0;

function frame(now) {
  requestAnimationFrame(frame);
  if (now - lastFrame < FRAME_MS || $("station").hidden) {
    return;
  }
  lastFrame = now;
  const publish = now - lastCount >= COUNT_MS;
  if (publish) {
    lastCount = now;
  }
  for (const card of cards.values()) {
    if (card.visible) {
      card.frame(now, calm.matches);
      if (publish) {
        card.showCount();
      }
    }
  }
}

function everySecond() {
  const now = performance.now();
  setText($("clock"), clockTime(new Date()));
  for (const card of cards.values()) {
    card.showFreshness(now);
    if (card.visible) {
      card.refreshTrend(now);
      card.refreshSynthetic(now);
    }
  }
  alarms.tick();
  showName();
  sound.tick(alarms.unattended(), now);
}

function stripDue() {
  return [...alarms.open.values()].some((alarm) => alarm.strip === null && Date.now() - new Date(alarm.raised).getTime() < STRIP_DUE_MS);
}

showTheme();
route();
refresh();
everySecond();
setInterval(everySecond, 1000);
setInterval(refresh, REFRESH_MS);
setInterval(() => {
  if (stripDue()) {
    refresh();
  }
}, STRIP_LOOK_MS);
requestAnimationFrame(frame);
