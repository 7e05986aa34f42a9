# SPDX-License-Identifier: Apache-2.0
#
# What scripts/crowd.sh makes of its runs: rows with the names of `coupon sale --json`, and their words.

def sum(f): if all(f == null) then null else map(f // 0) | add end;
def median: sort | if length == 0 then null else .[length / 2 | floor] end;
def verdict(met): if met then "ok" else "miss" end;

# The checker's numbers.
def checked:
  {stock, offered: .asked, issued, already_issued, sold_out, errors, unanswered, acknowledged, tickets, remaining,
   asked_again, violations, ok};

# wrk's.
def rate: .answered * 1e6 / .duration_us;
def percentiles: {p50_us, p90_us, p99_us, p999_us, max_us};

# [checker, visitors]
def profile_row(name; title; clean):
  .[0] as $check | .[1] as $visitors |
  {name: name, title: title, mode: "profile"} + ($check | checked) +
  ($visitors | {users, not_signed_in, seconds, per_second, p50_us, p90_us, p99_us, max_us, mean_us, no_answers}) +
  {ok: ($check.ok and $visitors.not_signed_in == 0 and clean)};

# [checker, wrk]
def saturate_row(connections; clean):
  .[0] as $check | .[1] as $wrk |
  {name: "http_saturate", title: "\($check.asked) accounts, \($check.stock) coupons, saturated", mode: "saturate"} +
  ($check | checked) +
  {connections: connections, seconds: ($wrk.duration_us / 1e6), per_second: ($wrk | rate)} + ($wrk | percentiles) +
  {ok: ($check.ok and clean)};

# [checker at the end, checker before anyone asked again]
def crash_round(kills; clean):
  .[0] as $check | .[1] as $before |
  ($check | checked) + {kills: kills, recovered: ($before.tickets - $before.acknowledged)} +
  {ok: ($check.ok and clean)};

def crash_round_in_words(round):
  "round \(round): \(if .ok then "ok" else "FAILED" end), killed \(.kills) times; \(.tickets) of \(.stock) coupons " +
  "taken; \(.unanswered) of \(.offered) requests had no answer, \(.recovered) of these had got a coupon";

# The rounds. `issued` is what the killed sales and those who asked again came to, as in scripts/crash-sale.sh.
def crash_row(seed):
  {name: "http_crash", title: "killed in the middle, restarted, \(length) rounds", mode: "crash", rounds: length,
   seed: seed, kills: sum(.kills), stock: sum(.stock), offered: sum(.offered), issued: sum(.tickets),
   already_issued: sum(.already_issued), sold_out: sum(.sold_out), errors: sum(.errors),
   unanswered: sum(.unanswered), recovered: sum(.recovered), acknowledged: sum(.acknowledged),
   asked_again: sum(.asked_again), tickets: sum(.tickets), remaining: sum(.remaining), violations: sum(.violations),
   ok: (length > 0 and all(.ok))};

# A constant answer has no log to be held to: there, only errors are wrong.
def constant_check: {asked: .answered, errors: .not_2xx, violations: 0, ok: (.not_2xx == 0)};

# [checker, wrk, the service's figures of its disk]
def speed_run(kind; connections; pair; clean):
  .[0] as $check | .[1] as $wrk |
  {kind: kind, connections: connections, pair: pair} + .[2] + ($check | checked) +
  {per_second: ($wrk | rate)} + ($wrk | percentiles) + {ok: ($check.ok and clean)};

# The runs at one level as three rows. Ratios are taken within a pair, whose runs follow each other, and then their
# median: what slowed the machine down for a while slowed both.
def speed_rows(level):
  map(select(.connections == level)) as $runs |
  def runs(kind): $runs | map(select(.kind == kind));
  def ratio(kind):
    [runs(kind)[] as $run | runs("constant")[] | select(.pair == $run.pair) | $run.per_second / .per_second] | median;
  def beside(kind; target): ratio(kind) | {ratio: ., ratio_target: target, verdict: verdict(. >= target)};
  def row(kind; words):
    runs(kind) |
    {name: "http_\(kind)_\(level)", title: "\(words), \(level) connections", mode: "speed", kind: kind,
     connections: level, runs: length, stock: sum(.stock), offered: sum(.offered), issued: sum(.issued),
     already_issued: sum(.already_issued), sold_out: sum(.sold_out), errors: sum(.errors),
     unanswered: sum(.unanswered), tickets: sum(.tickets), remaining: sum(.remaining), violations: sum(.violations),
     per_second: (map(.per_second) | median), p50_us: (map(.p50_us) | median), p99_us: (map(.p99_us) | median),
     max_us: (map(.max_us) | max), sync_us: (map(.sync_us) | median), all_per_second: map(.per_second | round), ok: (length > 0 and all(.ok))};
  row("constant"; "constant answer"),
  (row("issue"; "durable issues") + beside("issue"; 0.75) | .reaches_100000 = (.per_second >= 100000) |
    if level == 256 then . + {p99_target_us: 10000, p99_verdict: verdict(.p99_us <= 10000),
      p99_constant_us: (runs("constant") | map(.p99_us) | median)} else . end),
  (row("refusal"; "refusals") + beside("refusal"; 0.85));

def ms: if . == null then "-" else ((. / 100 | round) / 10 | tostring) + " ms" end;

# What a person wants to know of the targets of a speed row.
def targets:
  [(if .ratio then "\((.ratio * 100 | round) / 100) of the constant answer (target \(.ratio_target)): \(.verdict)"
    else empty end),
   (if .p99_verdict then "p99 \(.p99_us | ms) beside \(.p99_constant_us | ms) of the constant answer " +
      "(target \(.p99_target_us | ms)): \(.p99_verdict)" else empty end),
   (if .kind == "issue" then "a sync took \(.sync_us | ms)" else empty end),
   (if .reaches_100000 == null then empty
    elif .reaches_100000 then "100000/s is reached" else "100000/s is not reached" end)] | join(", ");

def in_words:
  (if .per_second then "\(.per_second | round)/s, p50 \(.p50_us | ms), p99 \(.p99_us | ms)" else null end) as $speed |
  if .mode == "speed" then
    ["\(.title): \($speed)", (targets | select(. != "")), (if .ok then empty else "FAILED" end)] | join("; ")
  else
    ["\(.mode): \(.offered) requests, \(.issued) issued, \(.sold_out) sold out, \(.already_issued) had one, " +
     "\(.errors) errors, \(.unanswered) without an answer, \(.remaining) of \(.stock) left", ($speed // empty),
     (if .ok then "ok" else "FAILED" end)] | join("; ")
  end;
