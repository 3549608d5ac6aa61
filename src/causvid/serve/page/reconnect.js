/**
 * What people are told when the connection goes and comes back, and how a lost video is played again.
 */

import { sentence } from "./api.js";

/** @typedef {import("./script.js").Timeline} Timeline */

const AWAY = {
  again: "The connection is gone; it is tried again by itself.",
  asleep: "Press any key to come back.",
  token: "The server asks for its token. Open the address it printed when it started.",
};

/**
 * @param {import("./connection.js").Connection} connection
 * @param {import("./live.js").Live} live
 * @param {{notice: import("./notice.js").Notice, gone: () => void, replay: (timeline: Timeline) => void}} page
 */
export function watch(connection, live, { notice, gone, replay }) {
  /** The video that went with the connection. @type {Timeline | null} */
  let lost = null;
  let farewell = "";
  live.addEventListener("said", (event) => {
    const { detail } = /** @type {CustomEvent<import("./protocol.js").Message>} */ (event);
    if (detail.type === "error") farewell = detail.fatal ? sentence(detail.message) : "";
    if (detail.type === "started") lost = null;
  });
  connection.addEventListener("up", () => {
    farewell = "";
    const timeline = lost;
    if (!timeline) notice.clear();
    else notice.say("Connected again.", { stay: true, action: ["Play it again", () => replay(timeline)] });
  });
  connection.addEventListener("down", (event) => {
    const { detail } = /** @type {CustomEvent<keyof typeof AWAY>} */ (event);
    const events = live.running ? live.history.events(live.fps) : [];
    if (events.length) lost = { causvid_timeline: 1, seed: live.history.seed, events };
    live.lost();
    gone();
    notice.say([farewell, AWAY[detail]].filter(Boolean).join(" "), { stay: true });
  });
}
