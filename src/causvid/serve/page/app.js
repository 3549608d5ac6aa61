/**
 * The page: joins the video, what shows it, and what people press.
 */

import { Api, sentence, takeToken } from "./api.js";
import { Branches } from "./branches.js";
import { Camera } from "./camera.js";
import { Connection } from "./connection.js";
import { clock, icon, keep, make, part } from "./dom.js";
import { Glow, Noise } from "./glow.js";
import { listen } from "./keys.js";
import { Live } from "./live.js";
import { Meters } from "./meters.js";
import { Notice } from "./notice.js";
import { Player } from "./player.js";
import { Script } from "./script.js";
import { Sources } from "./sources.js";
import { Strip } from "./strip.js";
import { Taste } from "./taste.js";

/** Frames on their way: enough for a slow network; the server makes them only when they are due. */
const CREDITS = 48;
/** Prompts that the embedded model knows every word of. */
const EXAMPLES = {
  tiny: [
    "a red ball bounces on the grass under a blue sky",
    "a golden star circles around over the sea at sunset",
    "at night, a green heart pulses in a snowy field",
    "a purple triangle rocks back and forth on a beach while it rains",
  ],
};
const OTHER_EXAMPLES = ["a red fox walks through fresh snow at dawn, handheld camera"];

/** What is said when the connection is gone. */
const AWAY = {
  again: "The connection is gone. It is tried again by itself.",
  asleep: "Nothing happened for a while, so the place was given to others. Press any key to come back.",
  token: "The server asks for its token. Open the address it printed when it started.",
};

const screen = part("screen", HTMLCanvasElement);
const prompt = part("prompt", HTMLTextAreaElement);
const ask = part("ask", HTMLFormElement);
const transition = part("transition", HTMLSelectElement);
const seed = part("seed", HTMLInputElement);
const strength = part("strength", HTMLInputElement);
const token = takeToken();
const api = new Api(token);
const connection = new Connection(token, CREDITS, () => api.welcomed());
const notice = new Notice();
const meters = new Meters();
const glow = new Glow(part("glow", HTMLCanvasElement));
const noise = new Noise();
const camera = new Camera(part("mirror", HTMLVideoElement));
const sources = new Sources((file, type) => api.upload(file, type), (message) => notice.say(message));
const player = new Player(screen, ({ packet }, queued) => live.drawn(packet, queued));
const live = new Live(connection, player);
const strip = new Strip(part("strip", HTMLOListElement), { rewind, branch });
const branches = new Branches(part("tree", HTMLElement), (id) => live.switch(id));
const script = new Script(told, play);
const taste = new Taste(screen);
let starting = false;
/** What the server said before it closed the connection. */
let farewell = "";
/** The prompts of a video that was lost. @type {import("./history.js").Event[]} */
let gone = [];

/** What the script shows: the prompts so far, or what is about to be asked. */
function told() {
  const events = live.history.events(live.fps);
  const words = prompt.value.trim();
  const first = words ? [{ time: 0, prompt: words, transition: "soft" }] : [];
  return {
    events: events.length ? events : first,
    seed: live.running ? live.history.seed : chosenSeed(),
    model: live.welcome?.model ?? "",
  };
}

function chosenSeed() {
  const value = seed.value.trim();
  return /^\d{1,15}$/.test(value) ? Number(value) : null;
}

/** @param {"idle" | "live"} state */
function show(state) {
  document.body.dataset.state = state;
  part("go", HTMLButtonElement).setAttribute("aria-label", state === "idle" ? "Start" : "Show it");
  part("strength-row", HTMLElement).hidden = !["edit", "camera"].includes(sources.mode);
  if (state === "idle") noise.start(screen, () => glow.follow(screen));
  else noise.stop();
}

/**
 * Begin a video.
 * @param {import("./script.js").Timeline | null} timeline
 */
async function begin(timeline) {
  const words = timeline ? timeline.events[0].prompt : prompt.value.trim();
  if (!words) {
    notice.say("Say what the video shows, then press Enter.");
    prompt.focus();
    return;
  }
  if (!connection.up) {
    notice.say("There is no connection to the server yet. It is tried again by itself.");
    return;
  }
  if (starting) return;
  starting = true;
  ask.classList.add("waiting");
  try {
    const source = await sources.prepare();
    camera.close();
    if (source.mode === "camera") await camera.open();
    meters.reset();
    live.start({ prompt: words, seed: timeline?.seed ?? chosenSeed(), timeline, ...source });
  } catch (error) {
    ask.classList.remove("waiting");
    complain(error);
  } finally {
    starting = false;
  }
}

/** @param {import("./script.js").Timeline} timeline */
function play(timeline) {
  prompt.value = timeline.events[0].prompt;
  begin(timeline);
}

function submit() {
  if (!live.running) return begin(null);
  const words = prompt.value.trim();
  if (!words) return;
  ask.classList.add("waiting");
  live.prompt(words, transition.value);
}

/** @param {number} chunk */
function rewind(chunk) {
  if (!live.running) return;
  const piece = live.history.path.find((p) => p.chunk === chunk);
  if (!piece || !live.history.isKept(chunk)) {
    notice.say("That is too far back: the server no longer keeps it. Brighter pictures can be gone back to.");
    return;
  }
  prompt.value = piece.prompt;
  live.rewind(chunk);
}

/** @param {number} chunk */
function branch(chunk) {
  if (!live.running || chunk < 0) return;
  live.branch(chunk);
  prompt.focus();
  prompt.select();
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
  show("idle");
  prompt.focus();
  prompt.select();
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

/** @param {import("./protocol.js").Message & {unknown?: string[], reason?: string}} message */
function said(message) {
  if (message.type === "welcome") {
    part("model", HTMLElement).textContent = `${message.model} · ${message.size[1]} × ${message.size[0]}`;
    document.documentElement.style.setProperty("--ratio", String(message.size[1] / message.size[0]));
    suggest(message.model);
    if (!live.running) show("idle");
  } else if (message.type === "started") {
    gone = [];
    seed.value = String(message.seed);
    show("live");
    notice.clear();
    script.reset();
    const { welcome } = live;
    if (sources.mode === "camera" && welcome) {
      camera.run({ ...welcome, waiting: () => connection.waiting, send: (bytes) => connection.sendBytes(bytes) });
    }
  } else if (message.type === "error") {
    ask.classList.remove("waiting");
    notice.say(sentence(message.message), { stay: message.fatal });
    farewell = message.fatal ? sentence(message.message) : "";
  } else if (message.type === "paused" && message.reason) notice.say(message.reason);
  if (message.unknown?.length) {
    const words = message.unknown.map((word) => `“${word}”`).join(", ");
    notice.say(`This model does not know ${words}; it goes by the other words.`);
  }
}

/** @param {string} model */
function suggest(model) {
  const examples = EXAMPLES[/** @type {"tiny"} */ (model)] ?? OTHER_EXAMPLES;
  const list = examples.map((words) => {
    const button = make("button", { type: "button" }, words);
    button.addEventListener("click", () => {
      prompt.value = words;
      begin(null);
    });
    return make("li", {}, button);
  });
  part("examples", HTMLUListElement).replaceChildren(...list);
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
  ask.classList.remove("waiting");
  meters.first(milliseconds);
});
on("edited", (milliseconds) => {
  ask.classList.remove("waiting");
  meters.edit(milliseconds);
});
on("piece", ({ piece, message }) => {
  const { history, fps } = live;
  strip.add(piece, { fps, isKept: (chunk) => history.isKept(chunk) });
  branches.draw(history.branches, history.present, fps);
  meters.chunk(message.timing, message.frames / fps);
  script.follow();
});
on("shown", (packet) => {
  meters.count();
  glow.follow(screen);
  strip.mark(live.shown.chunk);
  part("time", HTMLOutputElement).textContent = clock(packet.frame / live.fps, 1);
});
on("ended", () => {
  camera.close();
  ask.classList.remove("waiting");
  notice.say("This video has ended.", { stay: true, action: ["New video", () => show("idle")] });
});

connection.addEventListener("up", () => {
  farewell = "";
  if (gone.length) notice.say("Connected again.", { stay: true, action: ["Play it again", replay] });
  else notice.clear();
});
connection.addEventListener("down", (event) => {
  if (live.running) gone = live.history.events(live.fps);
  live.lost();
  camera.close();
  ask.classList.remove("waiting");
  notice.say(farewell || AWAY[/** @type {CustomEvent<keyof typeof AWAY>} */ (event).detail], { stay: true });
});

/** The video that went with the connection, from its beginning: the same seed and script show the same. */
function replay() {
  const events = gone;
  gone = [];
  play({ causvid_timeline: 1, seed: live.history.seed, events });
}

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
  dice: () => {
    seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0] % 100_000);
  },
};
for (const [id, action] of Object.entries(actions)) part(id, HTMLButtonElement).addEventListener("click", action);
listen({
  " ": actions.pause, ".": actions.step, "/": () => prompt.focus(), "[": () => nudge(-1), "]": () => nudge(1),
  b: actions.branch, d: download, n: anew, s: actions["show-script"], t: actions.theme, p: actions.crisp,
  "?": actions.help,
});
addEventListener("dragover", (event) => {
  if (document.body.dataset.state !== "idle" || !event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
for (const end of ["dragleave", "drop"]) addEventListener(end, () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  const file = event.dataTransfer?.files[0];
  if (!file || document.body.dataset.state !== "idle") return;
  event.preventDefault();
  sources.take(file, (message) => notice.say(message));
});

show("idle");
prompt.focus();
connection.open();
