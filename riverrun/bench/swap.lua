-- wrk's part of `riverrun bench swap`: the requests of recommend.lua, each written down with the
-- moment of its answer and its latency, so that they can be told apart by what went on meanwhile.
-- Each thread must have one connection. The fifth argument is the path that the files begin with.
local here = debug.getinfo(1, "S").source:match("^@?(.*/)")
dofile(here .. "recommend.lua")

local ffi = require("ffi")
ffi.cdef [[
typedef struct { long seconds; long nanoseconds; } riverrun_time;
int clock_gettime(int clock, riverrun_time *time);
]]
local MONOTONIC = 1
local time = ffi.new("riverrun_time")
local begin, ask = init, request
local file, asked_at

local function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

function init(arguments)
  begin(arguments)
  file = assert(io.open(arguments[5] .. "." .. number, "w"))
  file:setvbuf("line")
end

function request()
  local text = ask()
  asked_at = now()
  return text
end

function response()
  local answered_at = now()
  file:write(string.format("%.6f %.6f\n", asked_at, answered_at))
end
