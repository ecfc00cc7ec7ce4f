-- wrk's part of `riverrun bench swap`: the requests of recommend.lua, each written down with the
-- moments from which it waited and at which it was answered, so that they can be told apart by what
-- went on meanwhile. A request waits from the moment it was due where the answer before it came
-- later. Each thread must have one connection. The fifth argument is the path that the files begin
-- with.
local here = debug.getinfo(1, "S").source:match("^@?(.*/)")
dofile(here .. "recommend.lua")

local begin, pause, ask = init, delay, request
local file, asked_at
local held_up = false

function init(arguments)
  begin(arguments)
  file = assert(io.open(arguments[5] .. "." .. number, "w"))
  file:setvbuf("line")
end

function delay()
  local milliseconds = pause()
  held_up = due < now()
  return milliseconds
end

function request()
  local text = ask()
  -- What wrk's own timers are late by is not the server's.
  asked_at = held_up and due or now()
  return text
end

function response()
  local answered_at = now()
  file:write(string.format("%.6f %.6f\n", asked_at, answered_at))
end
