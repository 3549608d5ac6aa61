/**
 * Prompts to begin with.
 */

import { make, part } from "./dom.js";

/** By model; the embedded one knows every word of its own. @type {Record<string, string[]>} */
const EXAMPLES = {
  tiny: [
    "a red ball bounces on the grass under a blue sky",
    "at sunset, a red triangle goes up and down a slope on the sand",
    "at night, a green heart slides diagonally in a snowy field",
    "a golden star sits still on the grass while it snows",
  ],
};
const OTHERS = [
  "a red fox walks through fresh snow at dawn, handheld camera",
  "waves roll onto a black beach under heavy clouds, slow aerial shot",
  "a steam train crosses a stone bridge in autumn light",
];

/**
 * @param {string} model
 * @param {(prompt: string) => void} choose
 */
export function suggest(model, choose) {
  const list = (EXAMPLES[model] ?? OTHERS).map((prompt) => {
    const button = make("button", { type: "button" }, prompt);
    button.addEventListener("click", () => choose(prompt));
    return make("li", {}, button);
  });
  part("examples", HTMLUListElement).replaceChildren(...list);
}
