-- SPDX-License-Identifier: Apache-2.0
--
-- The crowd, for wrk (4.1): every request is another account with a token that the service has never seen.
--
--   CROWD_TOKENS=t CROWD_ACKS=a wrk -s crowd.lua -t 2 -c 256 -d 60 http://127.0.0.1:8080
--
-- Thread I reads CROWD_TOKENS.I, lines of USER, tab, TOKEN as `coupon-http tokens` prints them, and adds a line
-- "STATUS USER TICKET REASON" to CROWD_ACKS.I for each answer ("-" where there is nothing to tell). At the end a
-- line of JSON goes to standard output. Its `asked` says how far each thread came in its file: whoever stands there
-- and not in the answers was not answered. When no thread has tokens left, the run is over.
--
--   CROWD_COUPON  the coupon's id (1)                  CROWD_THREADS  what -t says (1)
--   CROWD_PATH    the path (/api/v1/user-coupon)
--
-- What wrk does that one would not expect, and what is done about it here:
--
-- * Each thread has a Lua state of its own, and setup() and done() run in yet another. Only strings, numbers and
--   tables of these can be handed over, as global variables.
-- * It calls request() once in the first thread just to look at it, and never sends that one.
-- * response() is not told its request. The user is therefore sent as X-Request-Id, which the service sends back.
-- * There is no hook at a thread's end. The answers are in stdio's buffers by then, which exit() writes; what had
--   been counted comes out through done(), so that a reader can see that no line is missing.
-- * wrk.thread:stop() ends one thread while main sleeps on for the whole duration, which then spoils every rate. So
--   the last thread to run dry interrupts the process, as Ctrl-C would.
-- * While the service is down, it connects again as fast as it can, and each try takes a token. Who restarts a
--   service under it should stop it meanwhile (SIGSTOP). Of an answer that was cut in two by that, the first half
--   would stand before the connection's next one; hence what is read from a body is the last of its kind.

local ffi = require("ffi")
ffi.cdef("int kill(int pid, int sig); int getpid(void);")

local find, sub, match, gmatch = string.find, string.sub, string.match, string.gmatch

local threads = {} -- of done()'s state
local lines, acks
local head, middle, tail -- the request around user and token
local echo = "x-request-id"
local only_looked_at = false

-- Read by done() from each thread's state.
asked, answered, dry = 0, 0, false

local function option(name, default)
  local value = os.getenv("CROWD_" .. name)
  if value == nil or value == "" then value = default end
  return value or error("crowd.lua: CROWD_" .. name .. " is not set")
end

function setup(thread)
  thread:set("index", #threads)
  threads[#threads + 1] = thread
end

local tokens

-- An iterator over the pairs of the next block of whole lines, or nil at the end. A block is small: the first
-- request waits for it, and the collector has to get rid of it.
local function next_block()
  local block, rest = tokens:read(65536, "*l")
  if not block then return nil end
  return gmatch(block .. (rest or "") .. "\n", "(%d+)\t([^\n]+)\n")
end

function init()
  tokens = assert(io.open(option("TOKENS") .. "." .. index, "r"))
  acks = assert(io.open(option("ACKS") .. "." .. index, "a"))
  -- Small blocks, so that who watches the file sees the sale go on.
  acks:setvbuf("full", 4096)
  lines = next_block()
  only_looked_at = index == 0

  local body = '{"couponId":' .. option("COUPON", "1") .. "}"
  local path = option("PATH", "/api/v1/user-coupon")
  head = "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nContent-Type: application/json\r\n" ..
    "Content-Length: " .. #body .. "\r\nX-Request-Id: "
  middle = "\r\nAuthorization: Bearer "
  tail = "\r\n\r\n" .. body
end

-- What a thread sends that has nobody left to ask for. It is being stopped, but is not through with the events
-- that it was told of.
local nobody = "GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"

local function run_dry()
  if dry then return end
  dry = true
  wrk.thread:stop()
  local prefix = option("ACKS") .. ".dry."
  assert(io.open(prefix .. index, "w")):close()
  for other = 0, tonumber(option("THREADS", "1")) - 1 do
    local file = io.open(prefix .. other, "r")
    if not file then return end
    file:close()
  end
  ffi.C.kill(ffi.C.getpid(), 2)
end

local function next_person()
  while lines do
    local user, token = lines()
    if user then return user, token end
    lines = next_block()
  end
end

local peeked_user, peeked_token

function request()
  local user, token = peeked_user, peeked_token
  if user then
    peeked_user = nil
  else
    user, token = next_person()
    if not user then
      -- Not in that very first call, in which there is nothing to stop yet.
      if not only_looked_at then run_dry() end
      only_looked_at = false
      return nobody
    end
  end
  if only_looked_at then
    only_looked_at, peeked_user, peeked_token = false, user, token
  else
    asked = asked + 1
  end
  return head .. user .. middle .. token .. tail
end

function response(status, headers, body)
  local user = headers[echo]
  if not user then
    for name, value in pairs(headers) do
      if name:lower() == "x-request-id" then echo, user = name, value end
    end
    user = user or "-"
  end
  answered = answered + 1
  if status == 200 then
    acks:write("200 ", user, " ", match(body, '.*"ticketNumber":(%d+)') or "-", " issued\n")
  elseif find(body, '"reason":"sold_out"', 1, true) then
    acks:write("400 ", user, " - sold_out\n")
  else
    local ticket = match(body, '.*"ticketNumber":(%d+)') or "-"
    local reason = match(body, '.*"reason":"([%w_]+)"') or "unknown"
    acks:write(status, " ", user, " ", ticket, " ", reason, "\n")
  end
end

function done(summary, latency)
  local errors = summary.errors
  local all_asked, answers, ran_dry = {}, 0, true
  for i, thread in ipairs(threads) do
    all_asked[i] = string.format("%d", thread:get("asked"))
    answers = answers + thread:get("answered")
    ran_dry = ran_dry and thread:get("dry")
  end
  if ran_dry then io.stderr:write("crowd.lua: no token is left\n") end
  -- The percentiles are of latencies that wrk has corrected for waits in which it would have asked more often.
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"asked":[%s],"answered":%d,"out_of_tokens":%s,"p50_us":%d,"p90_us":%d,' ..
      '"p99_us":%d,"p999_us":%d,"max_us":%d,"connect_errors":%d,"read_errors":%d,"write_errors":%d,' ..
      '"timeouts":%d,"not_2xx":%d}\n',
    summary.requests, summary.duration, table.concat(all_asked, ","), answers, tostring(ran_dry),
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
