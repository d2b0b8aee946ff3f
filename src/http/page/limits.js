// The limits of a patient's alarms: as they are, as the first day of signal would have them, and who sets them.
//
// Nothing is in force before a named person says so; what the service refuses is shown in its words.

import * as api from "./api.js";
import { conditions } from "./conditions.js";
import { closable, rememberName, rememberedName } from "./dialogs.js";
import { element, setText } from "./element.js";
import { conditionWords, count, dateTime } from "./wording.js";

const FIELDS = [
  ["low_bpm", "Low rate", "/min"],
  ["high_bpm", "High rate", "/min"],
  ["extreme_bradycardia_bpm", "Extremely slow", "/min"],
  ["extreme_tachycardia_bpm", "Extremely fast", "/min"],
  ["pause_seconds", "Pause", "s"],
  ["rate_delay_seconds", "Rate delay", "s"],
  ["ventricular_per_minute", "Ventricular beats", "/min"],
  ["st_elevation_mv", "ST elevation", "mV"],
  ["st_depression_mv", "ST depression", "mV"],
];

const $ = (id) => document.getElementById(id);

/** The fields and what is switched off, from the limits of a patient. */
function fill(limits, table) {
  const fields = FIELDS.map(([key, name, unit]) => {
    const [least, most] = limits.bounds[key];
    return element(
      "label",
      {},
      `${name}, ${unit}`,
      element("input", {
        name: key,
        type: "number",
        inputmode: "decimal",
        step: "any",
        min: least,
        max: most,
        value: limits.own[key],
        placeholder: limits.ward[key] ?? "as found",
        title: `${least} to ${most} ${unit}; empty: as on the ward`,
      }),
    );
  });
  $("limits-fields").replaceChildren(...fields);
  const boxes = table
    .filter((line) => line.can_be_off)
    .map((line) =>
      element(
        "label.check",
        { title: line.begins },
        element("input", { name: "off", type: "checkbox", value: line.condition, checked: limits.own.off.includes(line.condition) }),
        conditionWords(line.condition),
      ),
    );
  $("limits-off").replaceChildren(element("legend", {}, "Not alarmed on"), ...boxes);
}

/** What the form says: absent where a field is empty. */
function read(form) {
  const limits = { off: [...form.querySelectorAll('[name="off"]:checked')].map((box) => box.value) };
  for (const [key] of FIELDS) {
    const value = form.elements[key].valueAsNumber;
    if (!Number.isNaN(value)) {
      limits[key] = value;
    }
  }
  return limits;
}

/** What is proposed beside what is in force, with the reasons; the button calls `onConfirm`. */
function proposalOf(proposal, onConfirm) {
  const basis = proposal.based_on;
  const signal = basis.complete ? "the first day of signal" : `${basis.hours.toFixed(1)} h of signal so far, of a day`;
  const heading = element("h3", {}, `Proposed from ${signal} (${count(basis.minutes, "usable minute")})`);
  const why = element("ul.reasons", {}, ...proposal.why.map((line) => element("li", {}, line)));
  if (proposal.limits === null) {
    return [heading, why];
  }
  const { own, in_force: now } = proposal.current;
  const changed = FIELDS.filter(([key]) => proposal.limits[key] !== own[key]);
  if (changed.length === 0) {
    return [heading, why, element("p", {}, "These are the patient's limits already.")];
  }
  const rows = changed.map(([key, name, unit]) =>
    element(
      "tr",
      { "data-limit": key },
      element("th", { scope: "row" }, `${name}, ${unit}`),
      element("td", {}, now[key] ?? "as found"),
      element("td", {}, proposal.limits[key]),
    ),
  );
  const titles = ["Limit", "Now", "Proposed"].map((title) => element("th", { scope: "col" }, title));
  return [
    heading,
    element("table", {}, element("thead", {}, element("tr", {}, ...titles)), element("tbody", {}, ...rows)),
    why,
    element("button.button", { type: "button", "data-testid": "confirm-proposal", onclick: onConfirm }, "Put the proposed limits in force"),
  ];
}

/** Asks for new limits of the patient who wears a card's device and sets them; `onChange` is called after that. */
export async function askLimits(card, onChange) {
  const dialog = $("limits-dialog");
  const form = dialog.querySelector("form");
  const by = $("limit-by");
  const problem = $("limits-problem");
  if (dialog.open || card.status === null) {
    return;
  }
  const patient = card.status.patient;
  setText($("limits-title"), `Alarm limits of ${patient ?? card.device}`);
  setText(problem, patient === null ? "Limits belong to patients, and nobody wears this device." : "");
  setText($("limits-changed"), "");
  by.value = rememberedName() ?? "";
  for (const id of ["limits-fields", "limits-off", "limits-proposal"]) {
    $(id).replaceChildren();
  }
  closable(dialog);
  const submit = form.querySelector("[type=submit]");
  submit.disabled = true;

  /** Whether the answer to a question is still of interest. */
  const isCurrent = () => dialog.open && form.dataset.patient === patient;
  const put = async (limits) => {
    const name = by.value.trim();
    if (name === "") {
      setText(problem, "Not set: say who changes the limits.");
      by.focus();
      return;
    }
    try {
      await api.setPatientLimits(patient, limits, name);
      rememberName(name);
      dialog.close("save");
      onChange();
    } catch (error) {
      setText(problem, `Not set: ${error.message}`);
    }
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    return put(read(form));
  };
  form.dataset.patient = patient ?? "";
  dialog.showModal();
  if (patient === null) {
    return;
  }
  try {
    const [limits, table] = await Promise.all([api.patientLimits(patient), conditions()]);
    if (!isCurrent()) {
      return;
    }
    fill(limits, table);
    submit.disabled = false;
    const [proposal, changes] = await Promise.all([api.limitProposal(patient), api.limitChanges(patient)]);
    if (!isCurrent()) {
      return;
    }
    $("limits-proposal").replaceChildren(...proposalOf(proposal, () => put(proposal.limits)));
    const last = changes[0];
    setText($("limits-changed"), last === undefined ? "Never changed." : `Changed last by ${last.by}, ${dateTime(last.at)}.`);
  } catch (error) {
    if (isCurrent()) {
      setText(problem, `Cannot load: ${error.message}`);
    }
  }
}
