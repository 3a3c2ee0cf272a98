-- Applies the writes to one key, in order and at once.
--
-- KEYS: the key; the versions it was written with, a hash of "." and the field, "=" for
-- the whole key; the order of its fields, a sorted set; its deleted fields, a sorted set by
-- time. ARGV: how long deleted versions are kept, in ms; then for each write its name (set,
-- del, hset, hdel), the field, the value, the time to live in ms, the version; "" for none.
-- Answers for each "ok", "late" for a version that is too low, or the type that the key has
-- where fields are expected.

local key, versions, order, deleted = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local kept = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local kind = redis.call('TYPE', key).ok

-- Compares whole numbers as texts: Lua's own lose digits beyond 2^53.
local function less(a, b)
  local a_negative, b_negative = a:sub(1, 1) == '-', b:sub(1, 1) == '-'
  if a_negative ~= b_negative then return a_negative end
  if a_negative then a, b = b, a end
  if #a ~= #b then return #a < #b end
  return a < b
end

local function late(version, field)
  if version == '' then return false end
  local known
  if field then
    known = redis.call('HMGET', versions, '=', '.' .. field)
  else
    known = redis.call('HVALS', versions)
  end
  for i = 1, field and 2 or #known do
    if known[i] and less(version, known[i]) then return true end
  end
  return false
end

local function all(command, ...)
  for _, one in ipairs({ key, versions, order, deleted }) do redis.call(command, one, ...) end
end

local function remember(ttl)
  for _, one in ipairs({ versions, deleted }) do redis.call('PEXPIRE', one, ttl) end
end

local write = {}

function write.set(_, value, ttl, version)
  all('DEL')
  redis.call('SET', key, value)
  kind = 'string'
  if version ~= '' then redis.call('HSET', versions, '=', version) end
  if ttl ~= '' then all('PEXPIRE', ttl) end
end

function write.del(_, _, _, version)
  all('DEL')
  kind = 'none'
  if version ~= '' then
    redis.call('HSET', versions, '=', version)
    remember(kept)
  end
end

function write.hset(field, value, ttl, version)
  local rest = redis.call('PTTL', key)
  if kind == 'none' then
    redis.call('DEL', order)
    redis.call('PERSIST', versions)
    redis.call('PERSIST', deleted)
    kind = 'hash'
  end
  if redis.call('HSET', key, field, value) == 1 then
    local last = redis.call('ZRANGE', order, -1, -1, 'WITHSCORES')[2] or 0
    redis.call('ZADD', order, last + 1, field)
  end
  redis.call('ZREM', deleted, field)
  if version ~= '' then
    redis.call('HSET', versions, '.' .. field, version)
  else
    redis.call('HDEL', versions, '.' .. field)
  end
  if ttl ~= '' then
    all('PEXPIRE', ttl)
  elseif rest > 0 then
    all('PEXPIRE', rest)
  end
end

function write.hdel(field, _, _, version)
  local rest = redis.call('PTTL', key)
  redis.call('HDEL', key, field)
  redis.call('ZREM', order, field)
  redis.call('HDEL', versions, '.' .. field)
  if version ~= '' then
    for _, old in ipairs(redis.call('ZRANGEBYSCORE', deleted, '-inf', now - kept, 'LIMIT', 0, 100)) do
      redis.call('HDEL', versions, '.' .. old)
      redis.call('ZREM', deleted, old)
    end
    redis.call('HSET', versions, '.' .. field, version)
    redis.call('ZADD', deleted, now, field)
  end
  if redis.call('EXISTS', key) == 0 then
    kind = 'none'
    remember(kept)
  elseif rest > 0 then
    all('PEXPIRE', rest)
  end
end

local answers = {}
for i = 2, #ARGV, 5 do
  local name, field = ARGV[i], ARGV[i + 1]
  local of_field = name == 'hset' or name == 'hdel'
  local answer = 'ok'
  if late(ARGV[i + 4], of_field and field or nil) then
    answer = 'late'
  elseif of_field and kind ~= 'none' and kind ~= 'hash' then
    answer = kind
  else
    write[name](field, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  end
  answers[#answers + 1] = answer
end
return answers
