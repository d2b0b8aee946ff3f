// Checks deploy/: the alert rules behave, every expression of rules and dashboard parses, and every
// metric they ask for is one the service has.
//
// usage: node deploy.mjs PROMTOOL

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const promtool = process.argv[2];
if (promtool === undefined) {
  console.error("usage: node deploy.mjs PROMTOOL");
  process.exit(2);
}

const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), "..");
const prometheus = path.join(root, "deploy/prometheus");
const dashboards = path.join(root, "deploy/grafana/dashboards");
const check = (folder, ...args) => execFileSync(promtool, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });

/** Every `expr` below `node`. */
function expressions(node) {
  if (node === null || typeof node !== "object") {
    return [];
  }
  return Object.entries(node).flatMap(([key, value]) => (key === "expr" && typeof value === "string" ? [value] : expressions(value)));
}

/** The names of metrics in an expression: what is followed by a selector, a range or an operator. */
function metricsOf(expression) {
  const bare = expression.replaceAll(/"[^"]*"/g, '""').replaceAll(/\b(by|without)\s*\([^)]*\)/g, "").replaceAll(/\{[^}]*\}/g, "{}");
  return [...bare.matchAll(/\b([a-z]+_[a-z0-9_]+)\b(?!\s*\()/g)].map((match) => match[1].replace(/_(bucket|sum|count)$/, ""));
}

check(prometheus, "check", "config", "prometheus.yml");
check(prometheus, "test", "rules", "rules.test.yml");
console.log("ok   configuration and alert rules of Prometheus");

const shown = readdirSync(dashboards)
  .filter((name) => name.endsWith(".json"))
  .flatMap((name) => {
    const dashboard = JSON.parse(readFileSync(path.join(dashboards, name), "utf8"));
    const ids = dashboard.panels.map((panel) => panel.id);
    assert.equal(new Set(ids).size, ids.length, `${name}: panel ids are not unique`);
    return expressions(dashboard);
  });
assert.ok(shown.length > 0, "the dashboard asks for nothing");
const temporary = mkdtempSync(path.join(tmpdir(), "einthoven-deploy-"));
try {
  const rules = shown.map((expression, i) => ({
    record: `dashboard:expression:${i}`,
    expr: expression.replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*"),
  }));
  // JSON is YAML.
  writeFileSync(path.join(temporary, "dashboard.yml"), JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
  check(temporary, "check", "rules", "dashboard.yml");
} finally {
  rmSync(temporary, { recursive: true });
}
console.log(`ok   ${shown.length} expressions of the dashboard`);

const source = readFileSync(path.join(root, "src/metrics.rs"), "utf8");
const alerts = [...readFileSync(path.join(prometheus, "rules/einthoven.yml"), "utf8").matchAll(/expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)/g)].map((match) => match[1] ?? match[2]);
const asked = new Set([...shown, ...alerts].flatMap(metricsOf));
// These are the client library's own.
const ofProcess = new Set(["resident_memory_bytes", "cpu_seconds_total", "open_fds", "max_fds", "start_time_seconds"].map((name) => `process_${name}`));
const unknown = [...asked].filter((name) => !source.includes(`"${name}"`) && !ofProcess.has(name));
assert.deepEqual(unknown, [], "metrics that the service does not have");
console.log(`ok   ${asked.size} metrics, all known to the service`);
