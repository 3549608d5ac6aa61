/**
 * One video while it is being made: what the viewer asks for, what comes, what is shown.
 *
 * After going back, branching or switching, pictures of the old future are dropped until
 * the server says that the new one begins. Knows messages, pictures and the past; the page
 * is told through events: "began", "past" (what can be seen of it changed), "piece", "shown",
 * "edited", "turned", "ended", "said".
 */

import { Decoder } from "./decoder.js";
import { History } from "./history.js";

/**
 * @typedef {import("./protocol.js").Message} Message
 * @typedef {import("./protocol.js").Packet} Packet
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./player.js").Player} Player
 */

/** Frames shown between acknowledgements; the last one that waits is always acknowledged. */
const ACK_EVERY = 3;
/** While somebody looks at a paused video, the server hears from us this often: it forgets the silent. */
const SIGN_OF_LIFE = 60_000;

export class Live extends EventTarget {
  history = new History();
  /** @type {import("./protocol.js").Welcome | null} */
  welcome = null;
  running = false;
  paused = false;
  /** Where the picture on the screen is. */
  shown = { branch: 0, chunk: -1, frame: -1 };
  #connection;
  #player;
  #decoder;
  #dropping = false;
  #received = -1;
  #acked = -1;
  #starting = 0;
  #ids = 0;
  /** @type {Map<number, number>} */
  #asked = new Map();
  /** Prompts under way: when asked, and the frame that shows them. @type {{since: number, branch: number, frame: number}[]} */
  #edits = [];

  /**
   * @param {Connection} connection
   * @param {Player} player
   */
  constructor(connection, player) {
    super();
    this.#connection = connection;
    this.#player = player;
    this.#decoder = new Decoder(
      (decoded) => player.push(decoded),
      (packet) => this.#lost(packet),
    );
    connection.addEventListener("packet", (event) => this.#packet(/** @type {CustomEvent} */ (event).detail));
    connection.addEventListener("message", (event) => this.#message(/** @type {CustomEvent} */ (event).detail));
    setInterval(() => this.#signOfLife(), SIGN_OF_LIFE);
  }

  get fps() {
    return this.welcome?.fps ?? 12;
  }

  /** @param {Record<string, unknown>} order   what `start` says beside its type */
  start(order) {
    if (this.running) this.#connection.send({ type: "stop" });
    this.#drop();
    this.#starting = performance.now();
    this.#connection.send({ type: "start", pace: "realtime", timeline: null, ...order });
  }

  /**
   * @param {string} prompt
   * @param {string} transition
   */
  prompt(prompt, transition) {
    const id = this.#ids++;
    this.#asked.set(id, performance.now());
    this.#connection.send({ type: "prompt", prompt, transition, id });
  }

  /** @param {number} strength */
  strength(strength) {
    this.#connection.send({ type: "strength", strength });
  }

  toggle() {
    if (!this.running) return;
    if (this.paused) this.#connection.send({ type: "resume" });
    else this.#connection.send({ type: "pause" });
    this.#turn(!this.paused);
  }

  /** One chunk while paused: the rest of what is here, or a new one. */
  step() {
    if (!this.running || !this.paused) return;
    const rest = this.#player.restOfChunk;
    if (rest !== null) this.#player.playUntil(rest);
    else this.#connection.send({ type: "step" });
  }

  /** @param {number} chunk */
  rewind(chunk) {
    this.#drop();
    this.#connection.send({ type: "rewind", chunk });
  }

  /** @param {number} chunk */
  branch(chunk) {
    this.#drop();
    this.#connection.send({ type: "branch", chunk, prompt: null, id: this.#ids++ });
  }

  /** @param {number} branch */
  switch(branch) {
    this.#drop();
    this.#connection.send({ type: "switch", branch });
  }

  stop() {
    this.#drop();
    if (this.running) this.#connection.send({ type: "stop" });
    this.running = false;
  }

  /** The socket is gone, and the video with it. */
  lost() {
    this.#decoder.reset();
    this.#player.flush();
    this.#received = this.#acked = -1;
    this.#dropping = this.running = false;
    this.#edits = [];
  }

  /**
   * The player has drawn a picture.
   * @param {Packet} packet
   * @param {number} queued
   */
  drawn(packet, queued) {
    this.shown = { branch: packet.branch, chunk: this.#chunkOf(packet), frame: packet.frame };
    this.#ack(packet.sequence, queued === 0);
    if (this.#starting) this.#tell("began", performance.now() - this.#starting);
    this.#starting = 0;
    const seen = this.#edits.filter(({ branch, frame }) => branch === packet.branch && packet.frame >= frame);
    for (const { since } of seen) this.#tell("edited", performance.now() - since);
    if (seen.length) this.#edits = this.#edits.filter((edit) => !seen.includes(edit));
    this.#tell("shown", packet);
  }

  /** @param {Packet} packet */
  #chunkOf({ branch, frame }) {
    const path = this.history.branches.get(branch)?.path ?? [];
    const piece = path.findLast((p) => p.frame <= frame);
    return piece?.chunk ?? -1;
  }

  /** What is on its way belongs to a future that is given up. */
  #drop() {
    this.#dropping = true;
    this.#decoder.reset();
    this.#player.flush();
    this.#ack(this.#received, true);
    this.#edits = [];
    this.#asked.clear();
  }

  /** @param {Packet} packet */
  #packet(packet) {
    this.#received = packet.sequence;
    if (this.#dropping) this.#ack(packet.sequence, false);
    else this.#decoder.push(packet);
  }

  /** A picture that cannot be decoded counts as shown. @param {Packet | null} packet */
  #lost(packet) {
    this.#ack(packet?.sequence ?? this.#received, true);
  }

  /**
   * @param {number} sequence
   * @param {boolean} now
   */
  #ack(sequence, now) {
    if (sequence <= this.#acked || !(now || sequence - this.#acked >= ACK_EVERY)) return;
    this.#acked = sequence;
    this.#connection.send({ type: "ack", frame: sequence });
  }

  #signOfLife() {
    if (!this.running || this.#acked < 0 || document.visibilityState === "hidden") return;
    this.#connection.send({ type: "ack", frame: this.#acked });
  }

  /** @param {Message} message */
  #message(message) {
    switch (message.type) {
      case "welcome":
        this.welcome = message;
        this.#player.resize(...message.size);
        break;
      case "started":
        this.history.start(message);
        this.running = true;
        this.#resume();
        this.#turn(false);
        this.#tell("past", null);
        break;
      case "chunk":
        this.#piece(message);
        return;
      case "prompted":
        this.#prompted(message);
        break;
      case "rewound":
      case "branched":
      case "switched":
        this.history[message.type](/** @type {any} */ (message));
        this.#resume();
        this.#tell("past", null);
        break;
      case "paused":
      case "resumed":
        this.#turn(message.type === "paused");
        break;
      case "stopped":
        this.#stopped();
        break;
      case "error":
        if (this.#dropping && this.running) this.#resume();
        this.#asked.clear();
    }
    this.#tell("said", message);
  }

  #resume() {
    this.#dropping = false;
    if (this.paused) this.#player.pause();
    else this.#player.play();
  }

  /** @param {import("./protocol.js").Chunk} message */
  #piece(message) {
    if (this.#dropping) return;
    if (this.paused) this.#player.playUntil(message.frame + message.frames - 1);
    const piece = this.history.add(message);
    if (piece) this.#tell("piece", { piece, message });
  }

  /** @param {import("./protocol.js").Prompted} message */
  #prompted(message) {
    this.history.prompted(message);
    const since = this.#asked.get(message.id);
    this.#asked.delete(message.id);
    if (since !== undefined) this.#edits.push({ since, branch: message.branch, frame: message.frame });
  }

  #stopped() {
    if (this.#dropping) return; // a new one is already asked for
    this.running = false;
    this.#tell("ended", null);
  }

  /** @param {boolean} paused */
  #turn(paused) {
    if (this.paused === paused && this.running) return;
    this.paused = paused;
    if (paused) this.#player.pause();
    else this.#player.play();
    this.#tell("turned", paused);
  }

  /**
   * @param {string} name
   * @param {unknown} detail
   */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
