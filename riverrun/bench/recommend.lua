-- wrk's part of `riverrun bench recommend`: POST /v1/recommend for a random known user each time.
-- Arguments after "--": the file with one user id a line, the pause in milliseconds that a
-- connection makes between two requests (0: none, closed loop), for how many milliseconds none asks
-- at first, and how many connections a thread has. RIVERRUN_BENCH_PORTS holds the port of each
-- thread's server, so that several share the load; RIVERRUN_BENCH_FIELDS, as JSON without its first
-- brace, what each request has beside its user.
local users = {}
local pause, quiet, connections = 0, 0, 0
local begun = 0
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
  pause, quiet, connections = tonumber(arguments[2]), tonumber(arguments[3]), tonumber(arguments[4])
  -- By thread: with one seed all would pause for as long, and ask in the same moment.
  math.randomseed(os.time() + 7919 * number)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function delay()
  -- Uniform around the mean, so that the connections do not march in step.
  if begun >= connections then return pause * 2 * math.random() end
  -- The first request of a connection. To accept hundreds at once is work too, so none asks yet;
  -- then it waits for what is left of a pause that was under way.
  begun = begun + 1
  return quiet + pause * 2 * (1 - math.sqrt(math.random()))
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
