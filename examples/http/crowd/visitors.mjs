// SPDX-License-Identifier: Apache-2.0
//
// Virtual users in one process, with nothing but Node's own library (18 or later).
//
//   node visitors.mjs --url URL --coupon ID --accounts FILE --acks FILE [OPTION...]
//     Each virtual user signs in, then loops: asks for the coupon, checks the answer, pauses. FILE has lines of
//     ID, tab, EMAIL, tab, PASSWORD.
//       --users N      virtual users (2000)             --ramp S   seconds until all are there (10)
//       --hold S       seconds from then on (10)        --pause S  between two requests of one user (1)
//       --repeat PCT   so many percent of those who hold a coupon keep asking (20); the others leave
//       --one-account  all of them are the first account, and none leaves; the coupon should have no limit per user
//       --unanswered FILE   where to write who got no answer, for --ask-again
//
//   node visitors.mjs --url URL --coupon ID --ask-again FILE --acks FILE [OPTION...]
//     Asks for everyone in FILE, lines of USER, tab, TOKEN, again and again until there is an answer.
//       --concurrency N  (64)                           --deadline S   give up then, with status 1 (60)
//
// Adds a line "STATUS USER TICKET REASON" to --acks for each answer, and prints a summary, one line of JSON.
import fs from "node:fs";
import http from "node:http";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

function parseOptions(words) {
  const options = {
    url: "http://127.0.0.1:8080", coupon: "1", users: "2000", ramp: "10", hold: "10", pause: "1", repeat: "20",
    concurrency: "64", deadline: "60", accounts: "", acks: "", unanswered: "", "ask-again": "", "one-account": false,
  };
  for (let i = 0; i < words.length; i++) {
    const name = words[i].replace(/^--/, "");
    if (!words[i].startsWith("--") || !(name in options)) throw new Error(`there is no option ${words[i]}`);
    if (typeof options[name] === "boolean") options[name] = true;
    else if (++i < words.length) options[name] = words[i];
    else throw new Error(`--${name} needs a value`);
  }
  for (const name of ["users", "ramp", "hold", "pause", "repeat", "concurrency", "deadline"]) {
    options[name] = Number(options[name]);
    if (!(options[name] >= 0)) throw new Error(`--${name} needs a number`);
  }
  return options;
}

let options;
try {
  options = parseOptions(process.argv.slice(2));
} catch (error) {
  console.error(`visitors: ${error.message}`);
  process.exit(2);
}

const base = new URL(options.url);
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
const couponBody = Buffer.from(`{"couponId":${options.coupon}}`);

/** POSTs a body; resolves to { status, text }, or to null if no answer came. Never rejects. */
function post(path, headers, body) {
  return new Promise((resolve) => {
    const request = http.request({
      agent, method: "POST", host: base.hostname, port: base.port, path, timeout: 15000,
      headers: { "Content-Type": "application/json", "Content-Length": body.length, ...headers },
    }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part) => { text += part; });
      // An answer that was cut off is none.
      response.on("end", () => resolve(response.complete ? { status: response.statusCode, text } : null));
      response.on("error", () => resolve(null));
      response.on("close", () => resolve(null));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(null));
    request.end(body);
  });
}

// What came of the requests for a coupon. `decided` says that the user knows: everything else is asked again.
const counts = new Map();
const latencies = [];
const acks = [];
let requests = 0, noAnswers = 0, undecided = 0, wrongUser = 0;

function flushAcks() {
  if (options.acks && acks.length > 0) fs.appendFileSync(options.acks, acks.join(""));
  acks.length = 0;
}

/** One request for the coupon: "issued", "already_issued", "sold_out", another reason, or "no_answer". */
async function askOnce(user, authorization) {
  requests++;
  const begin = performance.now();
  const answer = await post("/api/v1/user-coupon", { Authorization: authorization, "X-Request-Id": user }, couponBody);
  if (answer === null) {
    noAnswers++;
    undecided++;
    return "no_answer";
  }
  latencies.push(performance.now() - begin);
  let json = {};
  try { json = JSON.parse(answer.text); } catch { /* an answer of the HTTP library's own has no JSON */ }
  const reason = answer.status === 200 ? "issued" : json.reason ?? "unknown";
  const ticket = json.data?.ticketNumber ?? "-";
  // Ids here are far below 2^53, where JSON.parse would begin to round.
  if (json.data?.userId !== undefined && String(json.data.userId) !== user) wrongUser++;
  counts.set(reason, (counts.get(reason) ?? 0) + 1);
  if (!isDecision(reason)) undecided++;
  acks.push(`${answer.status} ${user} ${ticket} ${reason}\n`);
  if (acks.length >= 1000) flushAcks();
  return reason;
}

const isDecision = (reason) => reason === "issued" || reason === "already_issued" || reason === "sold_out";

/** The token, ready for the header; null if there is none by the end. */
async function signIn(account, end) {
  const body = Buffer.from(JSON.stringify({ email: account.email, password: account.password }));
  for (;;) {
    const answer = await post("/api/v1/auth/signin", {}, body);
    if (answer?.status === 200) return JSON.parse(answer.text).data.accessToken;
    if (answer !== null && answer.status !== 503 && answer.status !== 429) {
      console.error(`visitors: ${account.email} could not sign in: ${answer.status} ${answer.text}`);
      return null;
    }
    if (performance.now() + 500 >= end) return null;
    await sleep(500);
  }
}

async function visit(account, leaves, begin, end, state) {
  await sleep(begin - performance.now());
  const token = await signIn(account, end);
  if (token === null) {
    state.notSignedIn++;
    return;
  }
  let reason = "";
  for (;;) {
    reason = await askOnce(account.user, token);
    if (leaves && (reason === "issued" || reason === "already_issued")) break;
    if (performance.now() + options.pause * 1000 >= end) break;
    await sleep(options.pause * 1000);
  }
  if (!isDecision(reason)) state.unanswered.push(`${account.user}\t${token.replace(/^Bearer /, "")}\n`);
}

async function loadProfile() {
  const accounts = fs.readFileSync(options.accounts, "utf8").split("\n").filter(Boolean).map((line) => {
    const [user, email, password] = line.split("\t");
    return { user, email, password };
  });
  if (accounts.length < (options["one-account"] ? 1 : options.users)) throw new Error("there are too few accounts");
  const start = performance.now();
  const end = start + (options.ramp + options.hold) * 1000;
  const state = { notSignedIn: 0, unanswered: [] };
  const visits = [];
  for (let i = 0; i < options.users; i++) {
    // By number, so that every run has the same people keep asking.
    const leaves = !options["one-account"] && i % 100 >= options.repeat;
    const begin = start + (i / options.users) * options.ramp * 1000;
    visits.push(visit(accounts[options["one-account"] ? 0 : i], leaves, begin, end, state));
  }
  await Promise.all(visits);
  if (options.unanswered) fs.writeFileSync(options.unanswered, state.unanswered.join(""));
  return { users: options.users, not_signed_in: state.notSignedIn, seconds: (performance.now() - start) / 1000 };
}

async function askAgain() {
  const people = fs.readFileSync(options["ask-again"], "utf8").split("\n").filter(Boolean);
  const start = performance.now();
  const end = start + options.deadline * 1000;
  let next = 0, stillUnanswered = 0;
  const worker = async () => {
    while (next < people.length) {
      const [user, token] = people[next++].split("\t");
      let pause = 20;
      while (!isDecision(await askOnce(user, `Bearer ${token}`))) {
        if (performance.now() + pause >= end) {
          stillUnanswered++;
          break;
        }
        await sleep(pause);
        pause = Math.min(pause * 2, 1000);
      }
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, worker));
  return { users: people.length, still_unanswered: stillUnanswered, seconds: (performance.now() - start) / 1000 };
}

function summarize(result) {
  latencies.sort((a, b) => a - b);
  // The nearest rank; microseconds, as everywhere in the demonstration.
  const percentile = (p) =>
    latencies.length === 0 ? null : Math.round(latencies[Math.max(0, Math.ceil(latencies.length * p) - 1)] * 1000);
  const mean = latencies.length === 0 ? null : latencies.reduce((sum, x) => sum + x, 0) / latencies.length;
  return {
    ...result, offered: requests, answered: requests - noAnswers, no_answers: noAnswers, undecided,
    wrong_user: wrongUser, per_second: Math.round((requests - noAnswers) / result.seconds * 10) / 10,
    p50_us: percentile(0.5), p90_us: percentile(0.9), p99_us: percentile(0.99), max_us: percentile(1),
    mean_us: mean === null ? null : Math.round(mean * 1000), reasons: Object.fromEntries(counts),
  };
}

try {
  const result = await (options["ask-again"] ? askAgain() : loadProfile());
  flushAcks();
  const summary = summarize(result);
  console.log(JSON.stringify(summary));
  process.exitCode = summary.wrong_user > 0 || (result.still_unanswered ?? 0) > 0 ? 1 : 0;
} catch (error) {
  console.error(`visitors: ${error.message}`);
  process.exitCode = 2;
}
agent.destroy();
