"""The sliding window in Redis: one script that looks and counts, by the clock of Redis, which all processes share.

A bucket is a list of `instant:total`, the total being that of all hits so far, in microseconds since 1970. Its first
entry no longer counts: what lies behind it is the difference of two totals, so nothing is summed up. As in `window`,
instants of a limit above SLOTS are rounded up to a 1000th of the window. The list expires with its last hit.

What is no such list, as something else has written it, is thrown away: one bucket must not fail those of other callers
that travel with it. What fails then as well, such as a Redis that is full or only reads, fails the whole call.
"""

from app_kernel.rate_limit.window import SLOTS

HIT = f"""
local frozen = ARGV[1]
local now
if frozen ~= '' then
  now = tonumber(frozen)
else
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function read(text)
  if not text then return nil end
  local at, total = string.match(text, '^(%d+):(%d+)$')
  if not at then error('no bucket') end
  return tonumber(at), tonumber(total)
end

local function hit(key, limit, window)
  local grain = 1
  if limit > {SLOTS} then grain = window / {SLOTS} end
  local last, total = read(redis.call('LINDEX', key, -1))
  if last and last > now + window + grain then
    redis.call('DEL', key)
    last = nil
  end
  local _, base, oldest, upto
  if last then
    local head = redis.call('LRANGE', key, 0, 1)
    _, base = read(head[1])
    oldest, upto = read(head[2])
  else
    redis.call('RPUSH', key, '0:0')
    last, total, base = 0, 0, 0
  end
  while oldest and oldest <= now - window do
    redis.call('LPOP', key)
    base = upto
    oldest, upto = read(redis.call('LINDEX', key, 1))
  end
  local allowed = 0
  local left = 0
  if total - base >= limit then
    local index = 1
    while total - upto >= limit do
      index = index + 1
      oldest, upto = read(redis.call('LINDEX', key, index))
    end
  else
    allowed = 1
    total = total + 1
    left = limit - (total - base)
    local at = math.max(math.ceil(now / grain) * grain, last)
    local text = string.format('%.0f:%.0f', at, total)
    if at == last then
      redis.call('LSET', key, -1, text)
    else
      redis.call('RPUSH', key, text)
    end
    redis.call('PEXPIRE', key, math.ceil((window + grain) / 1000) + 1000)
    oldest = oldest or at
  end
  return allowed, left, oldest + window - now
end

local answers = {{}}
for number, key in ipairs(KEYS) do
  local limit = tonumber(ARGV[2 * number])
  local window = tonumber(ARGV[2 * number + 1]) * 1000000
  local fine, allowed, left, wait = pcall(hit, key, limit, window)
  if not fine then
    redis.call('DEL', key)
    allowed, left, wait = hit(key, limit, window)
  end
  answers[3 * number - 2] = allowed
  answers[3 * number - 1] = left
  answers[3 * number] = wait
end
return answers
"""
"""KEYS are buckets; ARGV is a frozen clock's microseconds or nothing, then limit and window in seconds of each bucket.

For each bucket it gives whether the hit is allowed, how many are left, and microseconds until there is more room.
"""
