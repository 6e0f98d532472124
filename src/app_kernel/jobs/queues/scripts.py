"""The Redis queue in words: Lua, each script one step. All keys share the prefix KEYS[1], whose {braces} keep them in
one slot of a cluster; ARGV[1] is the time in milliseconds where a clock is frozen, else empty: Redis's own then counts.

    job:<id>          hash   the job
    ready:<queue>     zset   queued ids, by rank and due time, each behind 15 digits of its number and a colon, so
                             that those of one millisecond come in the order of their arrival
    scheduled:<queue> zset   scheduled ids, by due time
    running           hash   id -> "token beats"
    dead:<queue>      zset   dead ids, by number
    expiring          zset   finished ids, by the time to forget them
    all, user:<id>    zset   ids by number, and so in the order of their arrival
    unique            hash   unique key -> unfinished id
    queues, paused    set    names of queues
    seq               number of the latest job
    claim:<token>     string says for a minute that this claim was done, should its answer get lost
    malformed         zset   what stood in a queue and is no job, by when it was found
"""

from app_kernel.core.jobs import DEAD_TTL

FIELDS = (
    "id", "queue", "task", "status", "rank", "due", "body", "unique_key", "user_id", "workspace_id", "attempts",
    "max_attempts", "enqueued_at", "started_at", "finished_at", "token", "cancel", "progress", "progress_text",
    "result", "error",
)  # fmt: skip
"""In the order of JobRow's fields; instants are milliseconds, what is absent is None."""
RANK_WIDTH = 10**13
"""Between two ranks in the score of a queued job: more than any due time in milliseconds, exact in a double."""

_PRELUDE = """
local P = KEYS[1]
local function read_now()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = read_now()
local function key(id) return P .. 'job:' .. id end
local function get(id, field)
  local value = redis.pcall('HGET', key(id), field)
  if type(value) == 'table' then return false end
  return value
end
local function number(id, field, other)
  local value = tonumber(get(id, field) or '')
  if not value or value ~= value or value > 9e15 or value < -9e15 then return other end
  return value
end
local function queue_of(id) return get(id, 'queue') or '' end
local function slot(id, seq)
  return string.format('%015d:', seq or math.max(0, math.min(number(id, 'seq', 0), 999999999999999))) .. id
end
local function push(queue, id, rank, due, seq)
  local ready = P .. 'ready:' .. queue
  redis.call('ZADD', ready, rank * WIDTH + due, slot(id, seq))
  if redis.call('ZCARD', ready) == 1 then
    redis.call('SADD', P .. 'queues', queue)
    redis.call('PUBLISH', P .. 'wake:' .. queue, '')
  end
end
local function wait(queue, id, due)
  local scheduled = P .. 'scheduled:' .. queue
  redis.call('SADD', P .. 'queues', queue)
  redis.call('ZADD', scheduled, due, id)
  if redis.call('ZRANGE', scheduled, 0, 0)[1] == id then redis.call('PUBLISH', P .. 'wake:' .. queue, '') end
end
local function standing(id, is_new)
  return {id, queue_of(id), get(id, 'task') or '', get(id, 'status') or '', is_new}
end
local function add(a)
  local id, queue, unique, user = ARGV[a], ARGV[a + 1], ARGV[a + 6], ARGV[a + 7]
  if redis.call('EXISTS', key(id)) == 1 then return standing(id, 0) end
  if unique ~= '' then
    local other = redis.call('HGET', P .. 'unique', unique)
    if other and redis.call('EXISTS', key(other)) == 1 then return standing(other, 0) end
    redis.call('HSET', P .. 'unique', unique, id)
  end
  local waits = ARGV[a + 4] ~= '' or tonumber(ARGV[a + 5]) > 0
  local due = tonumber(ARGV[a + 4]) or (now + tonumber(ARGV[a + 5]))
  local status = waits and 'scheduled' or 'queued'
  local seq = redis.call('INCR', P .. 'seq')
  redis.call('HSET', key(id), 'id', id, 'queue', queue, 'task', ARGV[a + 2], 'status', status, 'rank', ARGV[a + 3],
    'due', due, 'body', ARGV[a + 10], 'attempts', 0, 'max_attempts', ARGV[a + 9], 'enqueued_at', now,
    'seq', seq)
  if unique ~= '' then redis.call('HSET', key(id), 'unique_key', unique) end
  if ARGV[a + 8] ~= '' then redis.call('HSET', key(id), 'workspace_id', ARGV[a + 8]) end
  if ARGV[a + 11] == '1' then redis.call('HSET', key(id), 'handed', '1') end
  redis.call('ZADD', P .. 'all', seq, id)
  if user ~= '' then
    redis.call('HSET', key(id), 'user_id', user)
    redis.call('ZADD', P .. 'user:' .. user, seq, id)
  end
  if waits then wait(queue, id, due) else push(queue, id, tonumber(ARGV[a + 3]), due, seq) end
  return {id, queue, ARGV[a + 2], status, 1}
end
local function finish(id, status, ttl)
  local queue, unique = queue_of(id), get(id, 'unique_key')
  redis.call('HSET', key(id), 'status', status, 'finished_at', now)
  if unique and redis.call('HGET', P .. 'unique', unique) == id then redis.call('HDEL', P .. 'unique', unique) end
  if status == 'dead' then redis.call('ZADD', P .. 'dead:' .. queue, number(id, 'seq', 0), id) end
  if ttl ~= '' then
    local kept = tonumber(ttl)
    if get(id, 'handed') and kept < 604800000 then
      redis.call('HSET', key(id), 'ttl', kept)
      kept = 604800000
    end
    redis.call('ZADD', P .. 'expiring', now + kept, id)
  end
end
"""


def _script(text: str) -> str:
    fields = ", ".join(f"'{name}'" for name in FIELDS)
    listed = fields.replace("'body'", "'-'")
    return (
        (_PRELUDE + text)
        .replace("WIDTH", str(RANK_WIDTH))
        .replace("DEAD_TTL", f"{DEAD_TTL * 1000:.0f}")
        .replace("FIELDS", fields)
        .replace("LISTED", listed)
    )


ENQUEUE = _script("""
local out = {}
for a = 2, #ARGV, 12 do out[#out + 1] = add(a) end
return out
""")

CLAIM = _script("""
local queue, limit, token, worker = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
if redis.call('EXISTS', P .. 'claim:' .. token) == 1 then
  -- The client sends it again after its connection broke: the answer that was lost.
  local again, held = {-1}, redis.call('HGETALL', P .. 'running')
  for at = 1, #held, 2 do
    if get(held[at], 'token') == token and get(held[at], 'status') == 'running' then
      local row = redis.call('HMGET', key(held[at]), FIELDS)
      row[1] = held[at]
      again[#again + 1] = row
    end
  end
  return again
end
local scheduled, ready = P .. 'scheduled:' .. queue, P .. 'ready:' .. queue
local out = {-1}
local function put_aside(member)
  redis.call('ZADD', P .. 'malformed', now, member)
  redis.call('ZREMRANGEBYRANK', P .. 'malformed', 0, -1001)
  out[#out + 1] = {member}
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', scheduled, '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', scheduled, id)
  local status = get(id, 'status')
  if status == 'scheduled' then
    redis.call('HSET', key(id), 'status', 'queued')
    redis.call('ZADD', ready, number(id, 'rank', 0) * WIDTH + number(id, 'due', now), slot(id))
  elseif not status then
    put_aside(id)
  end
end
local soonest = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
if soonest[2] then out[1] = math.max(0, math.floor(tonumber(soonest[2]) - now)) end
if redis.call('SISMEMBER', P .. 'paused', queue) == 1 then return out end
local taken = 0
local function take(member)
  local id = string.sub(member, 17)
  local status = get(id, 'status')
  if status == 'queued' then
    local counted = redis.pcall('HINCRBY', key(id), 'attempts', 1)
    if type(counted) == 'table' then
      redis.call('HSET', key(id), 'attempts', 1)
    end
    redis.call('HSET', key(id), 'status', 'running', 'token', token, 'worker', worker, 'started_at', now, 'cancel', 0,
      'progress', 0, 'beat', 0, 'queue', queue)
    redis.call('HDEL', key(id), 'progress_text')
    redis.call('HSET', P .. 'running', id, token .. ' 0')
    local row = redis.call('HMGET', key(id), FIELDS)
    row[1] = id
    out[#out + 1] = row
    taken = taken + 1
  elseif not status then
    put_aside(member)
  end
end
-- What is put aside must not stand in the way of what waits behind it.
for _ = 1, 100 do
  local popped = redis.call('ZPOPMIN', ready, limit - taken)
  for at = 1, #popped, 2 do take(popped[at]) end
  if #popped == 0 or taken == limit then break end
end
if taken > 0 then redis.call('SET', P .. 'claim:' .. token, '', 'EX', 60) end
return out
""")

UNCLAIM = _script("""
local held = redis.call('HGETALL', P .. 'running')
for at = 1, #held, 2 do
  local id = held[at]
  if get(id, 'token') == ARGV[2] and get(id, 'status') == 'running' then
    redis.call('HDEL', P .. 'running', id)
    redis.call('HINCRBY', key(id), 'attempts', -1)
    redis.call('HSET', key(id), 'status', 'queued')
    push(queue_of(id), id, number(id, 'rank', 0), number(id, 'due', now))
  end
end
return 1
""")

SETTLE = _script("""
local out, a = {}, 2
while a <= #ARGV do
  local id, token, status, delay, count = ARGV[a], ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3]), ARGV[a + 4]
  local result, err, ttl, followups = ARGV[a + 5], ARGV[a + 6], ARGV[a + 7], tonumber(ARGV[a + 8])
  a = a + 9
  local held = get(id, 'token') == token
  if held and get(id, 'status') == 'running' then
    out[#out + 1] = id
    redis.call('HDEL', P .. 'running', id)
    redis.call('HINCRBY', key(id), 'attempts', count)
    if get(id, 'cancel') == '1' and (status == 'scheduled' or status == 'queued') then
      status, ttl = 'cancelled', DEAD_TTL
    end
    redis.call('HSET', key(id), 'cancel', 0)
    if result ~= '' then redis.call('HSET', key(id), 'result', result) end
    if err ~= '' then redis.call('HSET', key(id), 'error', err) else redis.call('HDEL', key(id), 'error') end
    if status == 'scheduled' or status == 'queued' then
      local due, queue = now + delay, queue_of(id)
      if tonumber(count) < 0 then due = number(id, 'due', due) end
      redis.call('HSET', key(id), 'status', status, 'due', due)
      if status == 'scheduled' then wait(queue, id, due) else push(queue, id, number(id, 'rank', 0), due) end
    else
      if status == 'completed' then redis.call('HSET', key(id), 'progress', 1) end
      finish(id, status, ttl)
    end
    for f = 0, followups - 1 do add(a + f * 12) end
  elseif held and (get(id, 'status') == status or (status == 'scheduled' and get(id, 'status') == 'queued')) then
    out[#out + 1] = id
  end
  a = a + followups * 12
end
return out
""")

# A full Redis refuses a script whose first write may need memory, and lets one go on whose first write frees some. What
# concerns a job that runs must get through, or all of them would look lost: so these begin with an HDEL.
BEAT = _script("""
local out = {}
for a = 2, #ARGV, 2 do
  local id, token = ARGV[a], ARGV[a + 1]
  if get(id, 'token') == token and get(id, 'status') == 'running' then
    redis.call('HDEL', P .. 'running', id)
    local beat = redis.call('HINCRBY', key(id), 'beat', 1)
    redis.call('HSET', P .. 'running', id, token .. ' ' .. beat)
    out[#out + 1] = {id, get(id, 'cancel') == '1' and 1 or 0}
  end
end
return out
""")

RUNNING = _script("""
local held = redis.call('HGETALL', P .. 'running')
local out = {}
for at = 1, #held, 2 do
  if get(held[at], 'status') == 'running' then
    out[#out + 1] = {held[at], held[at + 1]}
  else
    redis.call('HDEL', P .. 'running', held[at])
  end
end
return out
""")

REPORT = _script("""
local id = ARGV[2]
if get(id, 'token') ~= ARGV[3] or get(id, 'status') ~= 'running' then return 0 end
redis.call('HDEL', key(id), 'progress')
redis.call('HSET', key(id), 'progress', ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', key(id), 'progress_text', ARGV[5])
else redis.call('HDEL', key(id), 'progress_text') end
return 1
""")

CANCEL = _script("""
local id = ARGV[2]
local status = get(id, 'status')
if status == 'scheduled' or status == 'queued' then
  local queue = queue_of(id)
  redis.call('ZREM', P .. 'scheduled:' .. queue, id)
  redis.call('ZREM', P .. 'ready:' .. queue, slot(id))
  finish(id, 'cancelled', ARGV[3])
  return 'cancelled'
end
if status == 'running' then
  redis.call('HSET', key(id), 'cancel', 1)
  redis.call('PUBLISH', P .. 'cancel', id)
end
return status
""")

RETRY = _script("""
local id = ARGV[2]
local status = get(id, 'status')
if status ~= 'dead' and status ~= 'cancelled' then return 0 end
local queue, unique = queue_of(id), get(id, 'unique_key')
if unique then
  local other = redis.call('HGET', P .. 'unique', unique)
  if other and other ~= id and redis.call('EXISTS', key(other)) == 1 then return -1 end
  redis.call('HSET', P .. 'unique', unique, id)
end
redis.call('ZREM', P .. 'dead:' .. queue, id)
redis.call('ZREM', P .. 'expiring', id)
redis.call('HDEL', key(id), 'finished_at')
redis.call('HSET', key(id), 'status', 'queued', 'attempts', 0, 'due', now, 'progress', 0)
push(queue, id, number(id, 'rank', 0), now)
return 1
""")

PAUSE = _script("""
redis.call('SADD', P .. 'queues', ARGV[2])
redis.call(ARGV[3] == '1' and 'SADD' or 'SREM', P .. 'paused', ARGV[2])
redis.call('PUBLISH', P .. 'wake:' .. ARGV[2], '')
return 1
""")

PRUNE = _script("""
local ids = redis.call('ZRANGEBYSCORE', P .. 'expiring', '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(ids) do
  local user, queue = get(id, 'user_id'), queue_of(id)
  if user then redis.call('ZREM', P .. 'user:' .. user, id) end
  redis.call('ZREM', P .. 'dead:' .. queue, id)
  redis.call('ZREM', P .. 'all', id)
  redis.call('ZREM', P .. 'expiring', id)
  redis.call('DEL', key(id))
end
return #ids
""")

FORGET_HANDED = _script("""
for a = 2, #ARGV do
  local id = ARGV[a]
  local ttl, finished = tonumber(get(id, 'ttl') or ''), tonumber(get(id, 'finished_at') or '')
  if redis.call('EXISTS', key(id)) == 1 then redis.call('HDEL', key(id), 'handed', 'ttl') end
  if ttl and finished then redis.call('ZADD', P .. 'expiring', finished + ttl, id) end
end
return 1
""")

FIGURES = _script("""
local counts, oldest = {}, {}
local running = {}
local held = redis.call('HKEYS', P .. 'running')
for _, id in ipairs(held) do
  local queue = get(id, 'queue')
  if queue then running[queue] = (running[queue] or 0) + 1 end
end
for _, queue in ipairs(redis.call('SMEMBERS', P .. 'queues')) do
  local ready = P .. 'ready:' .. queue
  counts[#counts + 1] = {queue, redis.call('ZCARD', ready), redis.call('ZCARD', P .. 'scheduled:' .. queue),
    running[queue] or 0, redis.call('ZCARD', P .. 'dead:' .. queue)}
  local least, from = nil, '-inf'
  while true do
    local head = redis.call('ZRANGEBYSCORE', ready, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not head[2] then break end
    local rank = math.floor(tonumber(head[2]) / WIDTH)
    local due = tonumber(head[2]) - rank * WIDTH
    if not least or due < least then least = due end
    from = string.format('%.0f', (rank + 1) * WIDTH)
  end
  if least then oldest[#oldest + 1] = {queue, math.max(0, math.floor(now - least))} end
end
return {counts, oldest, redis.call('SMEMBERS', P .. 'paused')}
""")

FIND = _script("""
local source, first, count, latest = P .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), '+inf'
if ARGV[5] ~= '' then
  local seq = tonumber(get(ARGV[5], 'seq') or '')
  -- Whether there is somebody else's job is nobody's business.
  local is_foreign = string.sub(ARGV[2], 1, 5) == 'user:' and not redis.call('ZSCORE', source, ARGV[5])
  if not seq or is_foreign then return {} end
  latest = '(' .. string.format('%.0f', seq)
end
local out = {}
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', source, latest, '-inf', 'LIMIT', first, count)) do
  local row = redis.pcall('HMGET', key(id), LISTED)
  if row.err then row = {} end
  row[1] = id
  out[#out + 1] = row
end
return out
""")

GET = _script("""
local row = redis.pcall('HMGET', key(ARGV[2]), FIELDS)
if row.err then return {} end
if get(ARGV[2], 'status') then row[1] = ARGV[2] end
return row
""")
