// The two questions the page asks: who acknowledges, and which limits a patient gets.

import * as api from "./api.js";
import { setText } from "./element.js";

const KEY = "einthoven.name";

/** The name given last in this browser, `null` if none. */
export function rememberedName() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** Forgets it, for the next person at this screen. */
export function forgetName() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Nothing was kept.
  }
}

function rememberName(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Without storage the name is asked for each time.
  }
}

/** Lets the dialog's cancel buttons and a click beside it close it. */
function closable(dialog) {
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.onclick = () => dialog.close("cancel");
  }
  dialog.onclick = (event) => {
    if (event.target === dialog) {
      dialog.close("cancel");
    }
  };
}

/** The name to acknowledge with: the remembered one, or asked for. `null` if none was given. */
export function askName() {
  const known = rememberedName();
  if (known !== null && known.trim() !== "") {
    return Promise.resolve(known);
  }
  const dialog = document.getElementById("name-dialog");
  const input = document.getElementById("name");
  if (dialog.open) {
    return Promise.resolve(null);
  }
  input.value = "";
  closable(dialog);
  return new Promise((resolve) => {
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      if (input.value.trim() !== "") {
        dialog.close("save");
      }
    };
    dialog.onclose = () => {
      const name = input.value.trim();
      if (dialog.returnValue !== "save" || name === "") {
        resolve(null);
        return;
      }
      rememberName(name);
      resolve(name);
    };
    dialog.returnValue = "cancel";
    dialog.showModal();
    input.focus();
  });
}

/** Asks for new alarm limits of a card's device and sets them; the new status goes to `onStatus`. */
export function askLimits(card, onStatus) {
  const dialog = document.getElementById("limits-dialog");
  const form = dialog.querySelector("form");
  const [low, high, by] = ["limit-low", "limit-high", "limit-by"].map((id) => document.getElementById(id));
  const problem = document.getElementById("limits-problem");
  const title = document.getElementById("limits-title");
  if (dialog.open || card.status === null) {
    return;
  }
  setText(title, `Alarm limits of ${card.device}`);
  setText(problem, "");
  low.value = card.status.limits.low_bpm;
  high.value = card.status.limits.high_bpm;
  by.value = rememberedName() ?? "";
  closable(dialog);
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (low.valueAsNumber >= high.valueAsNumber) {
      setText(problem, "The low limit must be below the high limit.");
      return;
    }
    try {
      const status = await api.setLimits(card.device, low.valueAsNumber, high.valueAsNumber, by.value.trim());
      rememberName(by.value.trim());
      onStatus(status);
      dialog.close("save");
    } catch (error) {
      setText(problem, `Not set: ${error.message}`);
    }
  };
  dialog.showModal();
}
