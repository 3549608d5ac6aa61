/**
 * Telling the server what was shown, which is how it learns that more may come.
 *
 * An acknowledgement covers all frames before it. Frames that are given up count as shown.
 */

/** Frames shown between acknowledgements, unless nothing else waits. */
const EVERY = 3;
/** While somebody looks, the server hears from us this often: it forgets the silent. */
const SIGN_OF_LIFE = 60_000;

export class Acks {
  #received = -1;
  #told = -1;
  #send;

  /** @param {(frame: number) => void} send */
  constructor(send) {
    this.#send = send;
    setInterval(() => {
      if (this.#told >= 0 && document.visibilityState === "visible") send(this.#told);
    }, SIGN_OF_LIFE);
  }

  /** A frame came in. @param {number} sequence */
  got(sequence) {
    this.#received = sequence;
  }

  /**
   * @param {number} sequence
   * @param {boolean} last   nothing else waits to be shown
   */
  shown(sequence, last) {
    if (sequence > this.#told && (last || sequence - this.#told >= EVERY)) this.#tell(sequence);
  }

  /** All that came in is shown, or given up. */
  all() {
    if (this.#received > this.#told) this.#tell(this.#received);
  }

  /** A new socket counts from zero. */
  reset() {
    this.#received = this.#told = -1;
  }

  /** @param {number} sequence */
  #tell(sequence) {
    this.#told = sequence;
    this.#send(sequence);
  }
}
