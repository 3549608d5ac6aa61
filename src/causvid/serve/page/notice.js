/**
 * One line that tells people what is going on, and what they can do about it.
 */

import { make, part } from "./dom.js";

const LONG_ENOUGH = 7000;

export class Notice {
  #line = part("notice", HTMLElement);
  #timer = 0;

  /**
   * @param {string} message
   * @param {{stay?: boolean, action?: [string, () => void]}} [how]
   */
  say(message, { stay = false, action } = {}) {
    clearTimeout(this.#timer);
    this.#line.textContent = message;
    if (action) {
      const button = make("button", { type: "button", class: "text" }, action[0]);
      button.addEventListener("click", action[1]);
      this.#line.append(button);
    }
    if (!stay) this.#timer = window.setTimeout(() => this.clear(), LONG_ENOUGH);
  }

  clear() {
    clearTimeout(this.#timer);
    this.#line.textContent = "";
  }
}
