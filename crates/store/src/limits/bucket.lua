-- A bucket is one number, the instant at which it will be full again, in sixteenths of a microsecond since 2026 by this
-- server's clock. Leases lie beside it: what a gateway has taken ahead and may still spend. Together they never hold
-- more than a bucket does, so a bucket with leases out is full that much earlier and not before.

-- Longer than any gateway is out of touch.
local MARK_LASTS = 30 * 86400 * 1000

local function instant()
  local time = redis.call('TIME')
  return ((time[1] - 1767225600) * 1000000 + time[2]) * 16
end

-- The process that keeps this memory. A Cluster's callers do not know which of them they reach.
local function server(run)
  if run ~= '' then return run end
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

local function text(number)
  return string.format('%.0f', number)
end

-- Whether this memory is the one that the caller knows. Where it is not, and the caller has let requests through in the
-- meantime, every bucket begins empty from the instant that is noted here. Returns that instant, or nil.
local function remember(mark, run, seen, guarded, now, rewrite)
  local known = redis.call('HMGET', mark, 'run', 'lost')
  local lost = tonumber(known[2] or nil)
  local changed = false
  if known[1] ~= run then
    changed, lost = true, nil
    if guarded and (known[1] or seen ~= '') then lost = now end
  elseif guarded and seen ~= '' and seen ~= run and not lost then
    changed, lost = true, now
  end
  if changed or rewrite then
    redis.call('HSET', mark, 'run', run, 'lost', lost and text(lost) or '')
  end
  redis.call('PEXPIRE', mark, MARK_LASTS)
  return lost
end

-- What the server has of a bucket, brought up to now: leases that have ended are dropped one after the other, because
-- until its end each kept room that nothing could flow into.
local function open(key, now, lost, tolerance, ceiling, brought)
  local bucket = { key = key, full = now - ceiling, held = 0, leases = {}, last = now, unknown = true }
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == 'full' then
      bucket.full, bucket.unknown = tonumber(value), false
    elseif name == 'lost' then
      bucket.lost = value
    else
      local serial, taken, spent, ends = string.match(value, '^(%d+) (%d+) (%d+) (%d+)$')
      local lease = { holder = name, serial = tonumber(serial), taken = tonumber(taken), spent = tonumber(spent) }
      lease.ends = tonumber(ends)
      bucket.held = bucket.held + lease.taken - lease.spent
      table.insert(bucket.leases, lease)
    end
  end
  table.sort(bucket.leases, function(one, other) return one.ends < other.ends end)
  while bucket.leases[1] and bucket.leases[1].ends <= now do
    local ended = table.remove(bucket.leases, 1)
    bucket.full = math.max(bucket.full, ended.ends + bucket.held)
    bucket.held = bucket.held - (ended.taken - ended.spent)
    redis.call('HDEL', key, ended.holder)
  end
  bucket.full = math.min(bucket.full, now + math.max(ceiling, bucket.held))
  if lost and lost + tolerance > now then
    if bucket.lost ~= text(lost) then
      bucket.full = math.max(bucket.full, lost + tolerance)
      bucket.lost, bucket.changed, bucket.unknown = text(lost), true, true
    end
    bucket.last = lost + tolerance
  end
  if brought > 0 then
    bucket.full, bucket.changed = bucket.full - brought, true
  end
  bucket.full = math.max(bucket.full, now + bucket.held)
  return bucket
end

-- It goes when it is full and nothing is lent: a full bucket is the same as none.
local function close(bucket, now)
  local last = math.max(bucket.full, bucket.last)
  for _, lease in ipairs(bucket.leases) do last = math.max(last, lease.ends) end
  redis.call('HSET', bucket.key, 'full', text(bucket.full))
  if bucket.lost then redis.call('HSET', bucket.key, 'lost', bucket.lost) end
  redis.call('PEXPIRE', bucket.key, math.ceil((last - now) / 16000) + 1)
end
