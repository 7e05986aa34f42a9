// SPDX-License-Identifier: Apache-2.0
//
// The load profile for people who have k6: ramps up to 500 or 2,000 virtual users, each of which asks for the coupon,
// checks the answer, sleeps 1 s.
//
//   k6 run -e URL=http://127.0.0.1:8080 -e COUPON=1 -e ACCOUNTS=accounts.tsv k6.js
//
//   URL, COUPON  the service and the coupon's id
//   ACCOUNTS     a file with lines of ID, tab, EMAIL, tab, PASSWORD, as visitors.mjs takes it
//   MODE         distinct: virtual user N is account N, and one in five of those who hold a coupon keeps asking (the
//                default); one: setup signs in once and all are that account, as in the reference's script. The coupon
//                should then be made with "perUserLimit": 0
//   STAGES       500: up to 500 users in 20 s; 2000: up to 2,000 in 10 s, then 30 s held (the default)
//
// The service has to be started with `--signin-per-address 0`: all virtual users come from one address.
import { check, sleep } from "k6";
import exec from "k6/execution";
import http from "k6/http";
import { SharedArray } from "k6/data";
import { Counter } from "k6/metrics";

const url = __ENV.URL || "http://127.0.0.1:8080";
const oneAccount = __ENV.MODE === "one";
const headers = { "Content-Type": "application/json" };
const body = `{"couponId":${__ENV.COUPON || "1"}}`;

// Read once, not once for each virtual user.
const accounts = new SharedArray("accounts", () =>
  open(__ENV.ACCOUNTS || "accounts.tsv").split("\n").filter((line) => line !== "").map((line) => {
    const [user, email, password] = line.split("\t");
    return { user, email, password };
  }));

const stages = {
  500: [{ duration: "20s", target: 500 }],
  2000: [{ duration: "10s", target: 2000 }, { duration: "30s", target: 2000 }],
};

export const options = {
  stages: stages[__ENV.STAGES || "2000"],
  // Refusals are answers, too: only what is none of the expected ones counts as failed.
  thresholds: { checks: ["rate==1"] },
};

http.setResponseCallback(http.expectedStatuses(200, 400, 409));

const answers = {
  issued: new Counter("coupon_issued"),
  already_issued: new Counter("coupon_already_issued"),
  sold_out: new Counter("coupon_sold_out"),
};

function signIn(account) {
  const response = http.post(`${url}/api/v1/auth/signin`,
    JSON.stringify({ email: account.email, password: account.password }), { headers, tags: { name: "signin" } });
  if (!check(response, { "signed in": (r) => r.status === 200 })) return null;
  return response.json("data.accessToken");
}

export function setup() {
  return { token: oneAccount ? signIn(accounts[0]) : null };
}

// Of this virtual user: k6 gives each its own copy of the module.
let token = null;
let holdsOne = false;

export default function (data) {
  const number = exec.vu.idInTest - 1;
  token = token || data.token || signIn(accounts[number % accounts.length]);
  if (token !== null && !(holdsOne && number % 5 !== 0)) {
    // The token goes into the header as the sign-in gave it, with "Bearer " in front.
    const response = http.post(`${url}/api/v1/user-coupon`, body,
      { headers: { ...headers, Authorization: token }, tags: { name: "user-coupon" } });
    let reason = "none";
    if (response.status === 200) reason = "issued";
    else if (response.status === 400 || response.status === 409) reason = response.json("reason");
    check(response, { "an answer of the rules": () => reason in answers });
    if (reason in answers) answers[reason].add(1);
    holdsOne = holdsOne || (!oneAccount && (reason === "issued" || reason === "already_issued"));
  }
  sleep(1);
}
