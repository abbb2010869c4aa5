// Waiting that a signal can end.
import { DczError } from "./errors.js";

/** Throws `aborted` if one of the signals has fired. */
export function checkAborted(...signals: readonly (AbortSignal | undefined)[]): void {
  for (const signal of signals) if (signal?.aborted) throw abortError(signal);
}

/** The error of what a signal ends. */
export function abortError(signal: AbortSignal | undefined): DczError {
  if (signal?.reason instanceof DczError) return signal.reason;
  const cause: unknown = signal?.reason;
  const why = cause instanceof Error ? ` (${cause.message})` : "";
  return new DczError("aborted", `The caller's signal ended this${why}.`, { cause });
}

/** What is to be called when a signal fires. One listener serves all, for Node warns of many. */
const watched = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `then` once the signal fires. Gives a function that calls this off. */
export function onAbort(signal: AbortSignal, then: () => void): () => void {
  const calls = watched.get(signal) ?? new Set();
  if (!watched.has(signal)) {
    watched.set(signal, calls);
    signal.addEventListener("abort", () => {
      for (const call of calls) call();
    });
  }
  calls.add(then);
  return () => calls.delete(then);
}

/** Settles as `work` does, or with the error `aborted` as soon as a signal fires; `work` itself goes on. */
export function abortable<T>(work: Promise<T>, ...signals: readonly (AbortSignal | undefined)[]): Promise<T> {
  return new Promise((resolve, reject) => {
    const ends = signals.map((signal) => {
      if (signal?.aborted) reject(abortError(signal));
      return signal && onAbort(signal, () => reject(abortError(signal)));
    });
    work.then(resolve, reject).finally(() => {
      for (const end of ends) end?.();
    });
  });
}

/** The longest time that timers know. */
const MOST_MS = 2 ** 31 - 1;

/** Settles as `work` does, or with the error that `late` makes after so many milliseconds. */
export function within<T>(milliseconds: number, work: Promise<T>, late: () => DczError): Promise<T> {
  if (milliseconds > MOST_MS) return work;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), milliseconds);
  });
  return Promise.race([work, over]).finally(() => clearTimeout(timer));
}

/** Waits so many milliseconds. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const slept = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  return abortable(slept, signal).finally(() => clearTimeout(timer));
}
