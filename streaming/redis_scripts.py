"""Lua scripts of `RedisState`, which the server runs atomically."""

# KEYS: stamps, unpushed, partition, the other partitions' unpushed. ARGV: the partition, a token
# that nobody else has, then a key and the stamp of its pushed value, and so on. A pushed sum is one
# over all partitions, so its key leaves the lists of all of them.
FORGET = """
local newest = ARGV[1] .. ':' .. (redis.call('HGET', KEYS[3], 'version') or '0')
local function commit_of(stamp) return string.match(stamp, '^[^/]+') end
local sums = {}
for i = 3, #ARGV, 2 do
    local pushed = ARGV[i + 1]
    local sum = redis.call('HGET', KEYS[1], ARGV[i])
    local current = sum or redis.call('HGET', KEYS[2], ARGV[i]) or newest
    if current == pushed then
        redis.call('HDEL', KEYS[2], ARGV[i])
        if sum then
            sums[#sums + 1] = ARGV[i]
        end
    elseif commit_of(current) ~= commit_of(pushed) then
        local again = commit_of(current) .. '/' .. ARGV[2]
        redis.call('HSET', KEYS[2], ARGV[i], again)
        if sum then
            redis.call('HSET', KEYS[1], ARGV[i], again)
        end
    end
end
for key = 4, #KEYS do
    for first = 1, #sums, 1000 do
        redis.call('HDEL', KEYS[key], unpack(sums, first, math.min(first + 999, #sums)))
    end
end
"""

# KEYS: a hash, the list, and the stamps where the hash's keys have some. ARGV: where to continue,
# how many to look at, the stamp, and what precedes the hash's names in the list. Returns where to
# continue. Of a user with a record, as of an erased one, the history is listed too, even if empty.
LIST_AGAIN = """
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
for i = 1, #page[2], 2 do
    local name = ARGV[4] .. page[2][i]
    redis.call('HSET', KEYS[2], name, ARGV[3])
    local user_id = string.match(name, '^user (.*)$')
    if user_id then
        redis.call('HSET', KEYS[2], 'history ' .. user_id, ARGV[3])
    end
    if KEYS[3] then
        redis.call('HSET', KEYS[3], name, ARGV[3])
    end
end
return page[1]
"""
