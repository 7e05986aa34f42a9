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
--   stands before the connection's next one; hence a body is cut to its length, from the end.

local ffi = require("ffi")
ffi.cdef("int kill(int pid, int sig); int getpid(void);")

-- Plain find() and sub() below, where match() would be shorter: this runs on the cores that are being measured.
local find, sub = string.find, string.sub

local threads = {} -- of done()'s state
local tokens, acks -- files
local head, middle, tail -- the request around user and token
local only_looking = false

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

function init()
  tokens = assert(io.open(option("TOKENS") .. "." .. index, "r"))
  acks = assert(io.open(option("ACKS") .. "." .. index, "a"))
  -- Small blocks, so that who watches the file sees the sale go on.
  acks:setvbuf("full", 4096)
  only_looking = index == 0

  local body = '{"couponId":' .. option("COUPON", "1") .. "}"
  local path = option("PATH", "/api/v1/user-coupon")
  head = "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nContent-Length: " .. #body ..
    "\r\nX-Request-Id: "
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
  local line = tokens:read("*l")
  if not line then return nil end
  local tab = find(line, "\t", 1, true)
  return sub(line, 1, tab - 1), sub(line, tab + 1)
end

local looked_at -- the request that wrk has only looked at

function request()
  if looked_at then
    local text = looked_at
    looked_at = nil
    asked = asked + 1
    return text
  end
  local user, token = next_person()
  if not user then
    -- Not in that very first call, in which there is nothing to stop yet.
    if not only_looking then run_dry() end
    only_looking = false
    return nobody
  end
  local text = head .. user .. middle .. token .. tail
  if only_looking then
    only_looking, looked_at = false, text
  else
    asked = asked + 1
  end
  return text
end

-- The names of these headers, as this service writes them.
local echo, length = "x-request-id", "content-length"

local function learn_names(headers)
  for name in pairs(headers) do
    if name:lower() == "x-request-id" then echo = name end
    if name:lower() == "content-length" then length = name end
  end
end

-- From the text of a length to the number; there are not many.
local lengths = setmetatable({}, {
  __index = function(known, text)
    known[text] = tonumber(text)
    return known[text]
  end,
})

local function after(body, words, ends)
  local _, at = find(body, words, 1, true)
  if not at then return nil end
  local stop = find(body, ends, at + 1, true)
  return sub(body, at + 1, (stop or 0) - 1)
end

function response(status, headers, body)
  answered = answered + 1
  if not (headers[echo] and headers[length]) then learn_names(headers) end
  local user = headers[echo] or "-"
  local size = lengths[headers[length] or "-"]
  if size and size ~= #body then body = sub(body, -size) end
  if status == 200 then
    acks:write("200 ", user, " ", after(body, '"ticketNumber":', ",") or "-", " issued\n")
  elseif find(body, '"reason":"sold_out"', 1, true) then
    acks:write("400 ", user, " - sold_out\n")
  else
    acks:write(status, " ", user, " ", after(body, '"ticketNumber":', ",") or "-", " ",
      after(body, '"reason":"', '"') or "unknown", "\n")
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
