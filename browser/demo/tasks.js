// Work in a worker, from the page's side: calls with progress, cancelled for certain by ending the worker.

/** An error that a worker told: its message, and its code if the package threw it. */
export class TaskError extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

/** A module worker of this page. Whatever it holds is free after `close`. */
export class Task {
  #worker;
  #calls = new Map();
  #count = 0;
  // why no further call can be answered
  #over;

  constructor(url) {
    this.#worker = new Worker(url, { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#read(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new TaskError(event.message || "The browser could not start a worker.", "unsupported"));
    };
  }

  /** Calls a function of the worker. `tell` gets what it reports on the way. Once the worker has ended, calls fail. */
  call(name, argument, tell = () => {}) {
    if (this.#over) return Promise.reject(this.#over);
    const number = this.#count++;
    return new Promise((resolve, reject) => {
      this.#calls.set(number, { resolve, reject, tell });
      this.#worker.postMessage({ number, name, argument });
    });
  }

  /** Ends the worker in the middle of whatever it does. Calls under way fail with the code "aborted". */
  close() {
    this.#worker.terminate();
    this.#fail(new TaskError("Cancelled.", "aborted"));
  }

  #read({ number, report, result, error }) {
    const call = this.#calls.get(number);
    if (report !== undefined) return call?.tell(report);
    this.#calls.delete(number);
    if (error) call?.reject(new TaskError(error.message, error.code));
    else call?.resolve(result);
  }

  #fail(error) {
    this.#over ??= error;
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }
}
