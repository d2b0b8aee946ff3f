// The table of conditions, asked for once: when an alarm begins and ends, and what it is told from.

import * as api from "./api.js";
import { element } from "./element.js";
import { conditionWords } from "./wording.js";

let table = null;

/** Every line of the table, most severe first. */
export function conditions() {
  table ??= api.conditions().catch((error) => {
    table = null;
    throw error;
  });
  return table;
}

/** The line on a condition as a list of terms, or what went wrong in words. */
export async function explanation(condition) {
  let line;
  try {
    line = (await conditions()).find((candidate) => candidate.condition === condition);
  } catch (error) {
    return element("p.problem", { role: "alert" }, `Cannot explain this: ${error.message}.`);
  }
  if (line === undefined) {
    return element("p", {}, "This version has no line on it.");
  }
  const rows = [
    ["Begins", line.begins],
    ["Ends", `${line.ends}${line.latching ? "; stands until acknowledged" : ""}`],
    ["Told from", line.evidence],
    ["Gives way to", line.yields_to.map(conditionWords).join(", ")],
    ["After", line.source],
  ];
  const shown = rows.filter(([, text]) => text !== "");
  return element("dl.terms", {}, ...shown.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));
}
