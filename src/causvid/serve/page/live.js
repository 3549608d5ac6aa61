/**
 * One video while it is being made: what the viewer asks for, what comes, what is shown.
 *
 * After going back, branching or switching, pictures of the old future are dropped until
 * the server says that the new one begins. Knows messages, pictures and the past; the page
 * is told through events: "began", "past" (what can be seen of it changed), "piece", "shown",
 * "edited", "turned", "ended", "said".
 */

import { Acks } from "./acks.js";
import { Decoder } from "./decoder.js";
import { Edits } from "./edits.js";
import { History } from "./history.js";

/**
 * @typedef {import("./protocol.js").Message} Message
 * @typedef {import("./protocol.js").Packet} Packet
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./player.js").Player} Player
 */

/** Part of a chunk's duration for which the picture may stand still so that a new prompt is seen sooner. */
const STALL = 0.3;

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
  /** Answers to come, after each of which another future begins. */
  #turns = 0;
  #steps = 0;
  #starting = 0;
  #edits = new Edits();
  #acks;
  /** Seconds that the last chunk took. */
  #cost = 0;
  #fromCamera = false;

  /**
   * @param {Connection} connection
   * @param {Player} player
   */
  constructor(connection, player) {
    super();
    this.#connection = connection;
    this.#player = player;
    this.#acks = new Acks((frame) => connection.send({ type: "ack", frame }));
    this.#decoder = new Decoder(
      (decoded) => player.push(decoded),
      () => this.#acks.all(),
    );
    connection.addEventListener("packet", (event) => this.#packet(/** @type {CustomEvent} */ (event).detail));
    connection.addEventListener("message", (event) => this.#message(/** @type {CustomEvent} */ (event).detail));
  }

  /** Whether what comes belongs to a future that was given up. */
  get #dropping() {
    return !this.running || this.#turns > 0;
  }

  get fps() {
    return this.welcome?.fps ?? 12;
  }

  /** @param {Record<string, unknown>} order   what `start` says beside its type */
  start(order) {
    this.stop();
    this.#starting = performance.now();
    this.#fromCamera = order.mode === "camera";
    this.#connection.send({ type: "start", pace: "realtime", timeline: null, ...order });
  }

  /**
   * @param {string} prompt
   * @param {string} transition
   */
  prompt(prompt, transition) {
    this.#takeBack();
    this.#ask({ since: performance.now(), prompt, transition, again: false });
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
    if (rest === null) this.#steps += 1;
  }

  /** @param {number} chunk */
  rewind(chunk) {
    this.#stand(chunk);
    this.#connection.send({ type: "rewind", chunk });
  }

  /** @param {number} chunk */
  branch(chunk) {
    this.#stand(chunk);
    this.#connection.send({ type: "branch", chunk, prompt: null, id: this.#edits.next() });
  }

  /** @param {number} branch */
  switch(branch) {
    this.#drop();
    this.#turns += 1;
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
    this.#acks.reset();
    this.#edits.forget();
    this.running = false;
    this.#turns = 0;
  }

  /**
   * The player has drawn a picture.
   * @param {Packet} packet
   * @param {number} queued
   */
  drawn(packet, queued) {
    this.shown = { branch: packet.branch, chunk: this.#chunkOf(packet), frame: packet.frame };
    this.#acks.shown(packet.sequence, queued === 0);
    if (this.#starting) this.#tell("began", performance.now() - this.#starting);
    this.#starting = 0;
    for (const milliseconds of this.#edits.seen(packet)) this.#tell("edited", milliseconds);
    this.#tell("shown", packet);
  }

  /** @param {Packet} packet */
  #chunkOf({ branch, frame }) {
    const path = this.history.branches.get(branch)?.path ?? [];
    const piece = path.findLast((p) => p.frame <= frame);
    return piece?.chunk ?? -1;
  }

  /** @param {import("./edits.js").Edit} edit */
  #ask(edit) {
    const { prompt, transition } = edit;
    this.#connection.send({ type: "prompt", prompt, transition, id: this.#edits.ask(edit) });
  }

  /**
   * Gives up a chunk that is here but was not begun to be shown, so that a new prompt acts on what is
   * seen next. Not where the picture would stand still for long, nor where the past cannot be
   * asked for again. Whether something was given up.
   */
  #takeBack() {
    const unseen = this.#player.unseen;
    if (!unseen || this.#fromCamera || this.#dropping) return false;
    const { packet, before } = unseen;
    const chunk = this.#chunkOf(packet);
    const standing = this.#cost - before / this.fps;
    const duration = (this.welcome?.chunk_frames ?? 0) / this.fps;
    if (packet.frame === 0 || standing > STALL * duration || !this.history.isKept(chunk)) return false;
    this.#turns += 1;
    this.#decoder.reset();
    this.#player.cut(before);
    this.#acks.all();
    this.#connection.send({ type: "rewind", chunk });
    return true;
  }

  /** Another future begins where this chunk began. @param {number} chunk */
  #stand(chunk) {
    this.#drop();
    this.#turns += 1;
    const frame = this.history.path.find((piece) => piece.chunk === chunk)?.frame ?? this.shown.frame;
    this.shown = { branch: this.history.present, chunk, frame };
  }

  /** What is on its way belongs to a future that is given up. */
  #drop() {
    this.#steps = 0;
    this.#decoder.reset();
    this.#player.flush();
    this.#acks.all();
    this.#edits.forget();
  }

  /** @param {Packet} packet */
  #packet(packet) {
    this.#acks.got(packet.sequence);
    if (this.#dropping) this.#acks.all();
    else this.#decoder.push(packet);
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
        this.#turns = 0;
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
        this.#turns = Math.max(0, this.#turns - 1);
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
        this.#turns = 0;
        this.#edits.forget();
    }
    this.#tell("said", message);
  }

  /** @param {import("./protocol.js").Chunk} message */
  #piece(message) {
    if (this.#dropping) return;
    this.#cost = Object.values(message.timing).reduce((sum, seconds) => sum + seconds, 0);
    if (this.paused && this.#steps > 0) this.#player.playUntil(message.frame + message.frames - 1);
    this.#steps = Math.max(0, this.#steps - 1);
    this.history.add(message);
    this.#tell("piece", message);
  }

  /** @param {import("./protocol.js").Prompted} message */
  #prompted(message) {
    this.history.prompted(message);
    const edit = this.#edits.answered(message.id);
    if (!edit) return;
    // A chunk of the old prompt may have been under way when we asked.
    if (!edit.again && this.#takeBack()) this.#ask({ ...edit, again: true });
    else this.#edits.promise(edit, message);
  }

  #stopped() {
    if (!this.running) return; // as we asked
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
