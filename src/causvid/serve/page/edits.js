/**
 * Prompts on their way: asked, promised for a frame, and at last seen.
 */

/** @typedef {{since: number, prompt: string, transition: string, again: boolean}} Edit */

export class Edits {
  #ids = 0;
  /** @type {Map<number, Edit>} */
  #asked = new Map();
  /** @type {{since: number, branch: number, frame: number}[]} */
  #promised = [];

  /** @returns {number} a number that nothing was asked under before */
  next() {
    return this.#ids++;
  }

  /**
   * @param {Edit} edit
   * @returns {number} the id to ask it under
   */
  ask(edit) {
    const id = this.next();
    this.#asked.set(id, edit);
    return id;
  }

  /**
   * The server answered.
   * @param {number} id
   */
  answered(id) {
    const edit = this.#asked.get(id);
    this.#asked.delete(id);
    return edit;
  }

  /**
   * From this frame on it can be seen.
   * @param {Edit} edit
   * @param {{branch: number, frame: number}} where
   */
  promise({ since }, { branch, frame }) {
    this.#promised.push({ since, branch, frame });
  }

  /**
   * A frame is shown.
   * @param {{branch: number, frame: number}} shown
   * @returns {number[]} milliseconds that edits took which can be seen now
   */
  seen({ branch, frame }) {
    const due = this.#promised.filter((edit) => edit.branch === branch && edit.frame <= frame);
    if (due.length) this.#promised = this.#promised.filter((edit) => !due.includes(edit));
    return due.map(({ since }) => performance.now() - since);
  }

  forget() {
    this.#asked.clear();
    this.#promised = [];
  }
}
