/**
 * The branches as a small tree: a line for each, on one axis of time. A click goes there.
 *
 * Hidden while there is only one.
 */

import { clock, make } from "./dom.js";

/** @typedef {import("./history.js").Branch} Branch */

const ROW = 28;
const SVG = "http://www.w3.org/2000/svg";

export class Branches {
  #root;
  #onSwitch;

  /**
   * @param {HTMLElement} root
   * @param {(branch: number) => void} onSwitch
   */
  constructor(root, onSwitch) {
    this.#root = root;
    this.#onSwitch = onSwitch;
    new ResizeObserver(() => this.#last && this.draw(...this.#last)).observe(root);
  }

  /** @type {[Map<number, Branch>, number, number] | null} */
  #last = null;

  /**
   * @param {Map<number, Branch>} branches
   * @param {number} present
   * @param {number} fps
   */
  draw(branches, present, fps) {
    this.#last = [branches, present, fps];
    this.#root.hidden = branches.size < 2;
    if (this.#root.hidden) return;
    const rows = [...branches.values()];
    const longest = Math.max(...rows.map((branch) => end(branch)), 1);
    const width = Math.max(this.#root.clientWidth * 0.55, 80);
    const x = (/** @type {number} */ chunk) => 6 + (chunk / longest) * (width - 12);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("aria-hidden", "true");
    svg.setAttribute("height", String(rows.length * ROW));
    svg.setAttribute("width", String(width));
    const list = make("ul");
    for (const [index, branch] of rows.entries()) {
      const up = rows.findIndex((other) => other.id === branch.parent);
      svg.append(...this.#line(branch, index, up, x, branch.id === present));
      list.append(make("li", {}, this.#button(branch, branch.id === present, fps)));
    }
    const focused = document.activeElement?.getAttribute("data-branch") ?? null;
    this.#root.replaceChildren(svg, list);
    if (focused !== null) {
      const again = this.#root.querySelector(`[data-branch="${focused}"]`);
      if (again instanceof HTMLElement) again.focus({ preventScroll: true });
    }
  }

  /**
   * @param {Branch} branch
   * @param {number} row
   * @param {number} parent   its row, or -1
   * @param {(chunk: number) => number} x
   * @param {boolean} present
   */
  #line(branch, row, parent, x, present) {
    const y = row * ROW + ROW / 2;
    const from = x(branch.from);
    const to = Math.max(x(end(branch)), from + 10);
    const above = parent * ROW + ROW / 2;
    const elbow = parent < 0 ? `M ${from} ${y}` : `M ${from} ${above} V ${y - 6} Q ${from} ${y} ${from + 6} ${y}`;
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `${elbow} H ${to}`);
    const dot = document.createElementNS(SVG, "circle");
    dot.setAttribute("cx", String(to));
    dot.setAttribute("cy", String(y));
    dot.setAttribute("r", present ? "4.5" : "3");
    for (const shape of [path, dot]) shape.setAttribute("class", present ? "present" : "");
    return [path, dot];
  }

  /**
   * @param {Branch} branch
   * @param {boolean} present
   * @param {number} fps
   */
  #button(branch, present, fps) {
    const last = branch.path.at(-1);
    const length = last ? clock((last.frame + last.frames) / fps) : "0:00";
    const words = last?.prompt ?? "";
    const button = make("button", { type: "button", "data-branch": String(branch.id) });
    button.append(make("span", { class: "words" }, words), make("span", { class: "quiet" }, length));
    button.setAttribute("aria-label", `Branch ${branch.id + 1}, ${length}: ${words}`);
    if (present) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => !present && this.#onSwitch(branch.id));
    return button;
  }
}

/** @param {Branch} branch */
function end(branch) {
  return Math.max((branch.path.at(-1)?.chunk ?? branch.from) + 1, branch.from);
}
