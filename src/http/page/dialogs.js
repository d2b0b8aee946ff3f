// Dialogs: who acknowledges, and what every dialog needs.

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

/** Remembers a name for the next question. */
export function rememberName(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Without storage the name is asked for each time.
  }
}

/** Lets the dialog's cancel buttons and a click beside it close it. */
export function closable(dialog) {
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
