/**
 * The few plain HTTP requests of the page, and the token that goes with them.
 */

const KEY = "causvid.token";

/**
 * The token out of the address (`#token=...` or `?token=...`), remembered for this tab alone and
 * taken out of the address bar. Empty where there is none.
 */
export function takeToken() {
  const url = new URL(location.href);
  const found = new URLSearchParams(url.hash.slice(1)).get("token") ?? url.searchParams.get("token");
  try {
    if (found) sessionStorage.setItem(KEY, found);
    else return sessionStorage.getItem(KEY) ?? "";
  } catch {
    if (!found) return ""; // storage may be forbidden
  }
  url.hash = "";
  url.searchParams.delete("token");
  history.replaceState(null, "", url);
  return found;
}

/**
 * The server's words with a capital letter.
 * @param {string | undefined} words
 */
export function sentence(words = "") {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export class Api {
  #headers;

  /** @param {string} token */
  constructor(token) {
    this.#headers = /** @type {Record<string, string>} */ (token ? { Authorization: `Bearer ${token}` } : {});
  }

  /** Whether the server takes our token; true where it does not answer at all. */
  async welcomed() {
    try {
      return (await fetch("v1/limits", { headers: this.#headers })).status !== 401;
    } catch {
      return true;
    }
  }

  /**
   * @param {Blob} file
   * @param {string} type
   * @returns {Promise<string>} the id of the upload
   */
  async upload(file, type) {
    const headers = { ...this.#headers, "Content-Type": type };
    const answer = await this.#ask("v1/uploads", { method: "POST", headers, body: file });
    return (await answer.json()).id;
  }

  /**
   * A branch as MP4.
   * @param {string} session
   * @param {number} branch
   */
  async video(session, branch) {
    const path = `v1/sessions/${encodeURIComponent(session)}/video?branch=${branch}`;
    return (await this.#ask(path, { headers: this.#headers })).blob();
  }

  /**
   * @param {string} path
   * @param {RequestInit} how
   */
  async #ask(path, how) {
    let answer;
    try {
      answer = await fetch(path, how);
    } catch {
      throw new Error("The server does not answer. Check that it is running, then try again.");
    }
    if (answer.ok) return answer;
    const body = await answer.json().catch(() => null);
    throw new Error(sentence(body?.error?.message) || `The server answered ${answer.status}. Try again in a moment.`);
  }
}
