/**
 * The past as a strip of pictures, one per chunk, with the words they were made from above.
 *
 * A click goes back to a picture; the small fork on it begins a branch there. One picture
 * at a time is in the tab order, arrow keys move along.
 */

import { clock, icon, make, prefersStillness } from "./dom.js";

/** @typedef {import("./history.js").Piece} Piece */

/** Older pictures are left out, so that hours stay light. */
const LONGEST = 300;

export class Strip {
  #root;
  #onRewind;
  #onBranch;
  #fps = 1;
  /** @type {Map<number, HTMLButtonElement>} */
  #buttons = new Map();
  /** What is drawn. @type {Piece[]} */
  #pieces = [];
  #shown = -1;

  /**
   * @param {HTMLElement} root
   * @param {{rewind: (chunk: number) => void, branch: (chunk: number) => void}} actions
   */
  constructor(root, { rewind, branch }) {
    this.#root = root;
    this.#onRewind = rewind;
    this.#onBranch = branch;
    root.addEventListener("keydown", (event) => this.#move(event));
  }

  /**
   * Shows this path; what it shares with the one before stays as it is.
   * @param {Piece[]} path
   * @param {{fps: number, isKept: (chunk: number) => boolean}} about
   */
  draw(path, { fps, isKept }) {
    this.#fps = fps;
    const wanted = path.slice(-LONGEST);
    const following = this.#atEnd();
    const same = wanted.findIndex((piece, index) => piece !== this.#pieces[index]);
    for (const { chunk } of this.#pieces.splice(same === -1 ? wanted.length : same)) this.#remove(chunk);
    for (const piece of wanted.slice(this.#pieces.length)) this.#append(piece);
    this.fade(isKept);
    if (following) this.#follow();
  }

  /** The picture of a chunk. @param {number} chunk */
  picture(chunk) {
    return this.#buttons.get(chunk)?.querySelector("img") ?? null;
  }

  /** @param {(chunk: number) => boolean} isKept */
  fade(isKept) {
    for (const [chunk, button] of this.#buttons) {
      const gone = !isKept(chunk);
      if (button.disabled === gone) continue;
      button.disabled = gone;
      button.parentElement?.classList.toggle("gone", gone);
    }
  }

  /** Marks the picture on the screen. @param {number} chunk */
  mark(chunk) {
    if (chunk === this.#shown) return;
    this.#buttons.get(this.#shown)?.removeAttribute("aria-current");
    this.#buttons.get(chunk)?.setAttribute("aria-current", "true");
    this.#shown = chunk;
    this.#letIn(chunk);
  }

  /** The chunk whose picture has the focus, or null. */
  get focused() {
    for (const [chunk, button] of this.#buttons) if (button === document.activeElement) return chunk;
    return null;
  }

  /** @param {Piece} piece */
  #append(piece) {
    const last = this.#root.lastElementChild;
    const run = last?.getAttribute("data-prompt") === piece.prompt ? last : this.#newRun(piece);
    const when = clock(piece.frame / this.#fps);
    const back = make("button", { type: "button", class: "thumb", tabindex: "-1" });
    back.append(make("img", { src: piece.thumbnail, alt: "", draggable: "false" }));
    back.setAttribute("aria-label", `Go back to ${when}: ${piece.prompt}`);
    back.title = `Go back to ${when}`;
    back.addEventListener("click", () => this.#onRewind(piece.chunk));
    const fork = make("button", { type: "button", class: "fork", tabindex: "-1" }, icon("branch"));
    fork.setAttribute("aria-label", `Branch at ${when}`);
    fork.title = "Branch here (b)";
    fork.addEventListener("click", () => this.#onBranch(piece.chunk));
    run.lastElementChild?.append(make("li", { class: "piece" }, back, fork));
    if (piece.chunk === this.#shown) back.setAttribute("aria-current", "true");
    this.#buttons.set(piece.chunk, back);
    this.#pieces.push(piece);
    if (this.#buttons.size === 1) back.tabIndex = 0;
  }

  /** @param {Piece} piece */
  #newRun(piece) {
    const words = make("p", { class: "words", title: piece.prompt }, make("span", {}, piece.prompt));
    const run = make("li", { class: "run", "data-prompt": piece.prompt }, words, make("ol", { class: "pieces" }));
    this.#root.append(run);
    return run;
  }

  /** @param {number} chunk */
  #remove(chunk) {
    const button = this.#buttons.get(chunk);
    const run = button?.closest(".run");
    button?.closest(".piece")?.remove();
    if (!run?.querySelector(".piece")) run?.remove();
    this.#buttons.delete(chunk);
  }

  /** @param {number} chunk */
  #letIn(chunk) {
    if (this.focused !== null) return;
    for (const button of this.#buttons.values()) button.tabIndex = -1;
    const button = this.#buttons.get(chunk);
    if (button) button.tabIndex = 0;
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || this.focused === null) return;
    const buttons = [...this.#buttons.values()];
    const next = buttons[buttons.findIndex((b) => b === document.activeElement) + step];
    if (!next || next.disabled) return;
    event.preventDefault();
    for (const button of buttons) button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  #atEnd() {
    const { scrollLeft, clientWidth, scrollWidth } = this.#root;
    return scrollLeft + clientWidth > scrollWidth - 120;
  }

  #follow(atOnce = false) {
    const behavior = atOnce || prefersStillness() ? "instant" : "smooth";
    this.#root.scrollTo({ left: this.#root.scrollWidth, behavior });
  }
}
