"""What Redis does for the cache, one script with several operations, each of which is whole.

Of a service there are, behind its prefix:

- `e:<key>`, a hash: `v` the bytes, `d` the versions that were current when their computation began;
- `l:<key>`, a hash: `t` the token of who computes the value, `d` these versions, `e` the epoch of patterns;
- `v:<name>`: the version of a tag (`t:<tag>`), of all that is cached (`#`), of what patterns took away (`*`).

A version is a token that was never used before. What has a version that is not the current one, or none at all since
Redis has evicted it, is not there: so one command takes away all that has a tag, and nothing comes back. Whoever is to
compute a value holds its lease, and what was taken away meanwhile took the lease, or its versions, with it: then what
was computed, perhaps from what is no more, is not kept. A lease of a process that died ends by itself.

The first write of an operation is one that a full Redis refuses: after another one, it would let it through.
"""

from app_kernel.cache.keys import LONGEST_TTL

CACHE = f"""
local op, prefix, token = ARGV[1], ARGV[2], ARGV[3]
local entry, lease = KEYS[1], KEYS[2]

local function read(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    redis.call('DEL', key)
    return redis.call(command, key, ...)
  end
  return answer
end

local function current(name)
  return read('GET', prefix .. 'v:' .. name)
end

local function renew_version(name)
  redis.call('SET', prefix .. 'v:' .. name, token, 'PX', {(LONGEST_TTL + 86400) * 1000})
end

local function version(name)
  local found = current(name)
  if found then return found end
  renew_version(name)
  return token
end

local function versions(first)
  local all = ''
  for at = first, #ARGV do
    all = all .. ARGV[at] .. '\\n' .. version(ARGV[at]) .. '\\n'
  end
  return all
end

local function prolong(first)
  for at = first, #ARGV do
    redis.call('PEXPIRE', prefix .. 'v:' .. ARGV[at], {(LONGEST_TTL + 86400) * 1000})
  end
end

local function put(key, milliseconds, ...)
  local answer = redis.pcall('HSET', key, ...)
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'WRONGTYPE', 1, true) then redis.call('DEL', key) end
    redis.call('HSET', key, ...)
  end
  redis.call('PEXPIRE', key, milliseconds)
end

local function stands(recorded)
  for name, was in string.gmatch(recorded, '([^\\n]*)\\n([^\\n]*)\\n') do
    if current(name) ~= was then return false end
  end
  return true
end

if op == 'peek' or op == 'look' then
  local found = read('HMGET', entry, 'v', 'd')
  if found[1] and found[2] and stands(found[2]) then return {{'hit', found[1]}} end
  if op == 'peek' then return {{'miss'}} end
  local held = read('HMGET', lease, 't', 'd', 'e')
  -- Its own is there when the connection broke after the first try.
  local others = held[1] and held[1] ~= token and held[2]
  if others and stands(held[2]) and current('*') == held[3] then return {{'busy', held[1]}} end
  op = 'take'
end

if op == 'take' then
  put(lease, ARGV[4], 't', token, 'd', versions(5), 'e', version('*'))
  prolong(5)
  return {{'lease', token}}
elseif op == 'keep' then
  local held = read('HMGET', lease, 't', 'd', 'e')
  if held[1] ~= token then return {{'late'}} end
  if not stands(held[2]) or current('*') ~= held[3] then
    redis.call('DEL', lease)
    return {{'late'}}
  end
  put(entry, ARGV[5], 'v', ARGV[4], 'd', held[2])
  redis.call('DEL', lease)
elseif op == 'set' then
  put(entry, ARGV[5], 'v', ARGV[4], 'd', versions(6))
  prolong(6)
  redis.call('DEL', lease)
elseif op == 'release' or op == 'renew' then
  if read('HGET', lease, 't') ~= token then return {{'late'}} end
  if op == 'release' then redis.call('DEL', lease) else redis.call('PEXPIRE', lease, ARGV[4]) end
elseif op == 'drop' then
  redis.call('DEL', entry, lease)
elseif op == 'outdate' then
  renew_version(ARGV[4])
end
return {{'done'}}
"""
"""KEYS are an entry and its lease; ARGV the operation, the prefix, a token that is new, and what the operation takes:

peek nothing; look and take the lease's milliseconds, then names of versions; keep the bytes and their milliseconds; set
these and names of versions; release and drop nothing; renew milliseconds; outdate the name of a version. The answer is
hit and the bytes, miss, lease and its token, busy and the token of another one, late, or done.
"""
