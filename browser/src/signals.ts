// Waiting that a signal can end.
import { DczError } from "./errors.js";

/** Throws `aborted` if one of the signals has fired. */
export function checkAborted(...signals: readonly (AbortSignal | undefined)[]): void {
  for (const signal of signals) if (signal?.aborted) throw abortError(signal);
}

/** The error of what a signal ends. */
export function abortError(signal: AbortSignal | undefined): DczError {
  if (signal?.reason instanceof DczError) return signal.reason;
  return new DczError("aborted", "The caller's signal ended this.", { cause: signal?.reason });
}

/** Settles as `work` does, or with the error `aborted` as soon as a signal fires; `work` itself goes on. */
export async function abortable<T>(work: Promise<T>, ...signals: readonly (AbortSignal | undefined)[]): Promise<T> {
  const given = signals.filter((signal) => signal !== undefined);
  const quit = new AbortController();
  const fired = new Promise<never>((_, reject) => {
    for (const signal of given) {
      if (signal.aborted) reject(abortError(signal));
      signal.addEventListener("abort", () => reject(abortError(signal)), { signal: quit.signal });
    }
  });
  try {
    return await Promise.race([work, fired]);
  } finally {
    quit.abort();
    work.catch(() => undefined); // nobody waits for it any more
  }
}

/** Waits so many milliseconds. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const slept = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  return abortable(slept, signal).finally(() => clearTimeout(timer));
}
