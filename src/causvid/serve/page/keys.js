/**
 * Keyboard shortcuts. They rest while somebody types, and never take a browser's own keys.
 */

/**
 * @param {Record<string, () => void>} actions   by the key as it is written: " ", ".", "/"
 */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target instanceof HTMLElement ? event.target : null;
    const typing = target?.closest("input:not([type=radio]):not([type=range]), textarea, select") ?? null;
    if (typing) {
      if (event.key === "Escape") target?.blur();
      return;
    }
    if (document.querySelector("dialog:modal")) return;
    if (event.key === " " && target?.closest("button, summary, input")) return; // presses it
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
