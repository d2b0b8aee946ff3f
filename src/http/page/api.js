// The JSON API. Every failure becomes an ApiError with a sentence that can be shown.

/** A request that failed. `status` is 0 when the service could not be reached at all. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

async function request(method, path, body) {
  let response;
  try {
    response = await fetch(`api/v1/${path}`, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
      cache: "no-store",
    });
  } catch {
    throw new ApiError(0, "unreachable", "the service does not answer");
  }
  let answer = null;
  try {
    answer = await response.json();
  } catch {
    // Judged below: a proxy's error page is no JSON either.
  }
  if (!response.ok) {
    throw new ApiError(
      response.status,
      answer?.error?.code ?? "unexpected",
      answer?.error?.message ?? `the service answered with status ${response.status}`,
    );
  }
  if (answer === null) {
    throw new ApiError(response.status, "unexpected", "the service answered with something that is not JSON");
  }
  return answer;
}

const id = encodeURIComponent;

export async function devices() {
  return (await request("GET", "devices")).devices;
}

export async function openAlarms() {
  return (await request("GET", "alarms?open=true&limit=500")).alarms;
}

/** One page of all alarms, newest first: `{alarms, next}`. */
export function alarmHistory(before) {
  return request("GET", `alarms?limit=50${before === null ? "" : `&before=${id(before)}`}`);
}

export function alarm(alarmId) {
  return request("GET", `alarms/${id(alarmId)}`);
}

export function acknowledge(alarmId, by) {
  return request("POST", `alarms/${id(alarmId)}/acknowledge`, { by });
}

export function strip(alarmId) {
  return request("GET", `strips/${id(alarmId)}`);
}

export function twelveLead(device) {
  return request("GET", `devices/${id(device)}/twelve-lead`);
}

/** What a model draws of the newest pulse wave: no ECG. */
export function synthetic(device) {
  return request("GET", `devices/${id(device)}/surrogate`);
}

export async function trends(device, from) {
  return (await request("GET", `trends?device=${id(device)}&from=${id(from.toISOString())}`)).trends;
}

/** The table of conditions, most severe first. */
export async function conditions() {
  return (await request("GET", "conditions")).conditions;
}

export function patientLimits(patient) {
  return request("GET", `patients/${id(patient)}/limits`);
}

/** Replaces the limits of a patient; what is absent is as on the ward. */
export function setPatientLimits(patient, limits, by) {
  return request("PUT", `patients/${id(patient)}/limits`, { limits, by });
}

export function limitProposal(patient) {
  return request("GET", `patients/${id(patient)}/limits/proposal`);
}

export async function limitChanges(patient) {
  return (await request("GET", `patients/${id(patient)}/limits/changes`)).changes;
}

/** A day of a patient, `tz` minutes ahead of UTC. */
export function day(patient, date, tz) {
  return request("GET", `patients/${id(patient)}/days/${id(date)}?tz=${tz}`);
}
