// The live stream: server-sent events, parsed and handed on.
//
// EventSource reconnects by itself after a lost connection, but gives up when the service answers
// with an error (a proxy while the service restarts); then this opens a new one, ever less often.

const KINDS = ["trace", "beat", "status", "alarm", "lagged"];
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 15_000;

export class Live {
  /**
   * @param {Object<string, function(Object): void>} handlers One per kind of event.
   * @param {function(boolean): void} onConnection Called with whether the stream is up, at each change.
   */
  constructor(handlers, onConnection) {
    this.handlers = handlers;
    this.onConnection = onConnection;
    this.retryMs = FIRST_RETRY_MS;
    this.open();
  }

  open() {
    const source = new EventSource("api/v1/live");
    source.addEventListener("open", () => {
      this.retryMs = FIRST_RETRY_MS;
      this.onConnection(true);
    });
    source.addEventListener("error", () => {
      this.onConnection(false);
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(() => this.open(), this.retryMs);
        this.retryMs = Math.min(2 * this.retryMs, LONGEST_RETRY_MS);
      }
    });
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        let data;
        try {
          data = JSON.parse(event.data);
        } catch {
          console.warn(`a ${kind} event is not JSON and was skipped`);
          return;
        }
        this.handlers[kind](data);
      });
    }
  }
}
