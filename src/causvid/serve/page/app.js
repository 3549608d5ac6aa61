/**
 * The page: joins the video, what shows it, and what people press.
 */

import { Api, sentence, takeToken } from "./api.js";
import { Beginning } from "./beginning.js";
import { Branches } from "./branches.js";
import { Camera } from "./camera.js";
import { Connection } from "./connection.js";
import { clock, fit, icon, keep, part } from "./dom.js";
import { Glow, Noise } from "./glow.js";
import { listen } from "./keys.js";
import { Live } from "./live.js";
import { Meters } from "./meters.js";
import { Notice } from "./notice.js";
import { Player } from "./player.js";
import { watch } from "./reconnect.js";
import { Script } from "./script.js";
import { Sources } from "./sources.js";
import { Strip } from "./strip.js";
import { Taste } from "./taste.js";

/** Frames on their way: enough for a slow network; the server makes them only when they are due. */
const CREDITS = 48;
const screen = part("screen", HTMLCanvasElement);
const prompt = part("prompt", HTMLTextAreaElement);
const ask = part("ask", HTMLFormElement);
const transition = part("transition", HTMLSelectElement);
const strength = part("strength", HTMLInputElement);
const token = takeToken();
const api = new Api(token);
const connection = new Connection(token, CREDITS, () => api.welcomed());
const notice = new Notice();
const meters = new Meters();
const glow = new Glow(part("glow", HTMLCanvasElement));
const noise = new Noise();
const camera = new Camera(part("mirror", HTMLVideoElement));
const sources = new Sources({
  upload: (file, type) => api.upload(file, type),
  complain: (message) => notice.say(message),
  open: () => document.body.dataset.state === "idle",
});
const player = new Player(screen, ({ packet }, queued) => live.drawn(packet, queued));
const live = new Live(connection, player);
const strip = new Strip(part("strip", HTMLOListElement), { rewind, branch });
const branches = new Branches(part("tree", HTMLElement), (id) => live.switch(id));
const beginning = new Beginning(live, { sources, camera, connection, complain, asked });
const script = new Script(told, (timeline) => beginning.play(timeline));
const taste = new Taste(screen);

/** What the script shows: the prompts so far, or what is about to be asked. */
function told() {
  const events = live.history.events(live.fps);
  const words = prompt.value.trim();
  const first = words ? [{ time: 0, prompt: words, transition: "soft" }] : [];
  return {
    events: events.length ? events : first,
    seed: live.running ? live.history.seed : beginning.seed,
    model: live.welcome?.model ?? "",
  };
}

/** @param {"idle" | "live"} state */
function show(state) {
  document.body.dataset.state = state;
  part("go", HTMLButtonElement).setAttribute("aria-label", state === "idle" ? "Start" : "Show it");
  part("strength-row", HTMLElement).hidden = !["edit", "camera"].includes(sources.mode);
  if (state === "idle") noise.start(screen, () => glow.follow(screen));
  else noise.stop();
}

function submit() {
  if (!live.running) return beginning.begin();
  const words = prompt.value.trim();
  if (!words) return;
  asked(true);
  live.prompt(words, transition.value);
}

/** @param {number} chunk */
function rewind(chunk) {
  const piece = stand(chunk);
  if (!piece) return;
  prompt.value = piece.prompt;
  live.rewind(chunk);
  strip.mark(chunk);
}

/** @param {number} chunk */
function branch(chunk) {
  const from = Math.min(chunk, live.history.kept[1]);
  if (!stand(from)) return;
  live.branch(from);
  prompt.focus();
  prompt.select();
}

/**
 * Shows the picture of a chunk that one can go back to.
 * @param {number} chunk
 */
function stand(chunk) {
  if (!live.running) return null;
  const piece = live.history.path.find((p) => p.chunk === chunk);
  if (!piece || !live.history.isKept(chunk)) {
    complain("That is too far back: the server no longer keeps it. One can go back to the brighter pictures.");
    return null;
  }
  const picture = strip.picture(chunk);
  if (picture) player.still(picture);
  part("time", HTMLOutputElement).textContent = clock(piece.frame / live.fps, 1);
  return piece;
}

/** @param {number} by   -1 for a chunk back, 1 forward */
function nudge(by) {
  if (by < 0) return rewind(Math.max(live.shown.chunk - 1, live.history.kept[0]));
  if (live.paused) live.step();
  else notice.say("This is the newest picture. Pause first to go on chunk by chunk.");
}

async function download() {
  const { welcome } = live;
  if (!welcome || !live.history.path.length) return;
  try {
    notice.say("The video is being packed…", { stay: true });
    const blob = await api.video(welcome.session, live.history.present);
    keep(blob, `causvid-${live.history.seed}-${live.history.present + 1}.mp4`);
    notice.say("The video is in your downloads, with its prompts and seed inside.");
  } catch (error) {
    complain(error);
  }
}

function anew() {
  if (!live.running) return;
  camera.close();
  live.stop();
  notice.clear();
  describe();
  show("idle");
  prompt.focus();
  prompt.select();
}

/** Something is on its way, or nothing is any more. @param {boolean} waiting */
function asked(waiting) {
  ask.classList.toggle("waiting", waiting);
}

/** @param {unknown} error */
function complain(error) {
  notice.say(error instanceof Error ? error.message : String(error));
}

function redraw() {
  const { history, fps } = live;
  strip.draw(history.path, { fps, isKept: (chunk) => history.isKept(chunk) });
  branches.draw(history.branches, history.present, fps);
  script.follow();
}

/** A branch is taken up where it ended. */
function switched() {
  const last = live.history.path.at(-1);
  const picture = last && strip.picture(last.chunk);
  if (picture) player.still(picture);
  if (last) prompt.value = last.prompt;
}

/** The model, and the seed of what is shown. @param {number} [seed] */
function describe(seed) {
  const { model, size } = live.welcome ?? { model: "", size: [0, 0] };
  const facts = [model, `${size[1]} × ${size[0]}`, ...(seed === undefined ? [] : [`seed ${seed}`])];
  part("model", HTMLElement).textContent = facts.join(" · ");
}

/** @param {import("./protocol.js").Message & {unknown?: string[], reason?: string}} message */
function said(message) {
  if (message.type === "welcome") {
    describe();
    document.documentElement.style.setProperty("--ratio", String(message.size[1] / message.size[0]));
    beginning.suggest(message.model);
    if (!live.running) show("idle");
  } else if (message.type === "started") {
    beginning.begun();
    describe(message.seed);
    meters.reset();
    notice.clear();
    show("live");
    script.reset();
  } else if (message.type === "switched") {
    switched();
  } else if (message.type === "error") {
    if (!live.running && document.body.dataset.state === "live") show("idle");
    asked(false);
    notice.say(sentence(message.message), { stay: message.fatal });
  } else if (message.type === "paused" && message.reason) notice.say(message.reason);
  if (message.unknown?.length) {
    const words = message.unknown.map((word) => `“${word}”`).join(", ");
    notice.say(`This model does not know ${words}; it goes by the other words.`);
  }
}

/** @param {boolean} paused */
function turned(paused) {
  const button = part("pause", HTMLButtonElement);
  button.replaceChildren(icon(paused ? "play" : "pause"));
  button.setAttribute("aria-label", paused ? "Go on" : "Pause");
  part("step", HTMLButtonElement).disabled = !paused;
  meters.pause();
}

/**
 * Hear an event of the video.
 * @param {string} name
 * @param {(detail: any) => void} hear
 */
function on(name, hear) {
  live.addEventListener(name, (event) => hear(/** @type {CustomEvent} */ (event).detail));
}

on("said", said);
on("past", redraw);
on("turned", turned);
on("began", (milliseconds) => {
  asked(false);
  meters.first(milliseconds);
});
on("edited", (milliseconds) => {
  asked(false);
  meters.edit(milliseconds);
});
on("piece", (message) => {
  redraw();
  meters.chunk(message.timing, message.frames / live.fps);
  script.mark((message.frame + message.frames - 1) / live.fps);
});
on("shown", (packet) => {
  meters.count();
  glow.follow(screen);
  strip.mark(live.shown.chunk);
  part("time", HTMLOutputElement).textContent = clock(packet.frame / live.fps, 1);
});
on("ended", () => {
  camera.close();
  asked(false);
  notice.say("This video has ended.", { stay: true, action: ["New video", () => show("idle")] });
});

watch(connection, live, {
  notice,
  gone: () => {
    camera.close();
    asked(false);
  },
  replay: (timeline) => beginning.play(timeline),
});

ask.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
strength.addEventListener("input", () => {
  part("strength-value", HTMLOutputElement).textContent = Number(strength.value).toFixed(2);
  if (live.running) live.strength(sources.strength);
});

const actions = {
  pause: () => live.toggle(),
  step: () => live.step(),
  branch: () => branch(strip.focused ?? live.shown.chunk),
  download,
  new: anew,
  "show-script": () => script.toggle(),
  help: () => part("shortcuts", HTMLDialogElement).showModal(),
  theme: () => taste.theme(),
  crisp: () => taste.crisp(),
};
for (const [id, action] of Object.entries(actions)) part(id, HTMLButtonElement).addEventListener("click", action);
listen({
  " ": actions.pause, ".": actions.step, "/": () => prompt.focus(), "[": () => nudge(-1), "]": () => nudge(1),
  b: actions.branch, d: download, n: anew, s: actions["show-script"], t: actions.theme, p: actions.crisp,
  "?": actions.help,
});
fit(prompt);
show("idle");
prompt.focus();
connection.open();
