// What a section that works in a worker shows: its words, its progress, and the one button that is of use.

const CANCELLED = "Cancelled. Nothing is left running.";

/** The status of the section whose elements are named NAME-start, NAME-cancel, NAME-progress and NAME-status. */
export class Status {
  constructor(name) {
    this.name = name;
  }

  #at(part) {
    return document.getElementById(`${this.name}-${part}`);
  }

  say(message, bad = false) {
    this.#at("status").textContent = message;
    this.#at("status").classList.toggle("bad", bad);
  }

  /** Shows the part that is done, from 0 to 1, and the stage, once. */
  progress(stage, part) {
    this.#at("progress").value = part;
    if (this.#at("status").textContent !== stage) this.say(stage);
  }

  begin() {
    this.#busy(true);
    this.say("Starting.");
  }

  end() {
    this.#busy(false);
  }

  cancelled() {
    this.say(CANCELLED);
  }

  failed(error) {
    if (error.code === "aborted") this.cancelled();
    else this.say(`${error.message} Try again, or read on: the rest of the page does not need it.`, true);
  }

  #busy(is) {
    // keys stay on the one button that is of use
    const focused = document.activeElement === this.#at(is ? "start" : "cancel");
    this.#at("start").disabled = is;
    this.#at("progress").hidden = !is;
    this.#at("cancel").hidden = !is;
    if (focused) this.#at(is ? "cancel" : "start").focus();
  }
}
