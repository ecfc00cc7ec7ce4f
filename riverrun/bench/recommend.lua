-- wrk's part of `riverrun bench recommend`: POST /v1/recommend for a random known user each time.
-- Arguments after "--": the file with one user id a line, the average milliseconds from one request
-- of a thread to its next (0: none, closed loop), for how many milliseconds none asks at first, and
-- how many connections a thread has.
-- RIVERRUN_BENCH_PORTS holds the port of each thread's server, so that several share the load;
-- RIVERRUN_BENCH_FIELDS, as JSON without its first brace, what each request has beside its user.
local ffi = require("ffi")
ffi.cdef [[
typedef struct { long seconds; long nanoseconds; } riverrun_time;
int clock_gettime(int clock, riverrun_time *time);
]]
local MONOTONIC = 1
local time = ffi.new("riverrun_time")
local users = {}
local interval, quiet, connections = 0, 0, 0
local fields = os.getenv("RIVERRUN_BENCH_FIELDS") or '"limit": 20}'

local threads = 0

function setup(thread)
  threads = threads + 1
  local number = 0
  for port in string.gmatch(os.getenv("RIVERRUN_BENCH_PORTS") or "", "%d+") do
    number = number + 1
    if number == threads then thread.addr = wrk.lookup("127.0.0.1", port)[1] end
  end
  thread:set("number", threads)
end

function init(arguments)
  for line in io.lines(arguments[1]) do users[#users + 1] = line end
  interval, quiet = tonumber(arguments[2]) / 1e3, tonumber(arguments[3]) / 1e3
  connections = tonumber(arguments[4])
  -- By thread: with one seed all would ask in the same moments.
  math.randomseed(os.time() + 7919 * number)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

function delay()
  -- Requests are due at moments that no answer changes: what a slow answer holds up is asked once it
  -- has come, and the rate stays.
  if interval == 0 then return 0 end
  -- Only from here on: to accept hundreds of connections at once is work too.
  local before = due or now() + quiet
  -- As between moments that each connection draws by itself, so that they do not march in step. None
  -- is idle for so long that the server would close it.
  local gap = 1 - math.random() ^ (1 / connections)
  due = before + (connections + 1) * interval * gap
  return math.max(0, math.ceil((due - now()) * 1e3))
end

function request()
  local user = users[math.random(#users)]
  return wrk.format(nil, nil, nil, '{"user_id": "' .. user .. '", ' .. fields)
end

function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), failed))
end
