// Starts this package's worker: a module worker in browsers and Deno, a thread in Node.
import { DczError } from "../errors.js";
import { builtin, type NodeWorker } from "../source/node.js";
import type { Answer, Ask } from "./messages.js";

/** A running worker. */
export interface Thread {
  /** Throws `unsupported` for what cannot be sent. */
  post(ask: Ask, transfer: Transferable[]): void;
  listen(onAnswer: (answer: Answer) => void, onError: (error: DczError) => void): void;
  end(): void;
}

/** Throws `unsupported` where there are no workers, or the page forbids this one. */
export function startThread(): Thread {
  if (typeof Worker === "function") return new WebThread();
  const threads = builtin("node:worker_threads");
  if (threads !== undefined) return nodeThread(new threads.Worker(new URL("./worker.js", import.meta.url)));
  throw unsupported("There are no workers here");
}

class WebThread implements Thread {
  readonly #worker: Worker;
  #answered = false;

  constructor() {
    try {
      this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    } catch (cause) {
      throw unsupported("The page may not start the worker", cause);
    }
  }

  post(ask: Ask, transfer: Transferable[]): void {
    sending(() => this.#worker.postMessage(ask, transfer));
  }

  listen(onAnswer: (answer: Answer) => void, onError: (error: DczError) => void): void {
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      this.#answered = true;
      onAnswer(data);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      onError(this.#answered ? died(event.message) : unsupported("The worker could not be loaded", event.message));
    };
    this.#worker.onmessageerror = () => onError(died("a message could not be read"));
  }

  end(): void {
    this.#worker.terminate();
  }
}

function nodeThread(worker: NodeWorker): Thread {
  return {
    post: (ask, transfer) => sending(() => worker.postMessage(ask, transfer)),
    listen: (onAnswer, onError) => {
      worker.on("message", (answer) => onAnswer(answer as Answer));
      worker.on("error", (error) => onError(died(String(error))));
      worker.on("messageerror", () => onError(died("a message could not be read")));
      worker.on("exit", () => onError(died("it has ended")));
    },
    end: () => void worker.terminate(),
  };
}

function sending(post: () => void): void {
  try {
    post();
  } catch (cause) {
    const message = "This cannot be sent to a worker. Give openInWorker() an address, a Blob or bytes, or use open().";
    throw new DczError("unsupported", message, { cause });
  }
}

function unsupported(what: string, cause?: unknown): DczError {
  const served = "The package's worker/worker.js must be served beside its modules, from the page's own origin";
  const remedy = `${served}, and be allowed by worker-src; or use open()`;
  return new DczError("unsupported", `${what}. ${remedy}.`, { cause });
}

function died(why: string): DczError {
  return new DczError("memory", `The worker ended: ${why}. It may have had too little memory. Open the file again.`);
}
