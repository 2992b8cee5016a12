-- Spends on every bucket or on none, and lends what the caller asks for beside that.
-- KEYS: the mark of the memory, then one bucket a draw.
-- ARGV: the server's run, the run the caller knows, whether to guard against loss, the caller's own name; then for each
-- bucket: cost (below zero: it is given back), tolerance, ceiling, what the caller brings back; and of its lease the serial, what was spent of it, how
-- much more is wanted (-1: it is given back), in what unit, and for how long.

-- The caller's lease, with what it has spent by now. An older one is forgotten by its holder, and nobody spends it; of a
-- newer one an older call has nothing to say, and is lent nothing.
local function settle(bucket, ask)
  for i, lease in ipairs(bucket.leases) do
    if lease.holder == ask.holder and lease.serial == ask.serial then
      local more = math.max(0, math.min(ask.spent, lease.taken) - lease.spent)
      lease.spent, bucket.held = lease.spent + more, bucket.held - more
      return lease
    elseif lease.holder == ask.holder and lease.serial < ask.serial then
      bucket.held = bucket.held - (lease.taken - lease.spent)
      table.remove(bucket.leases, i)
      redis.call('HDEL', bucket.key, ask.holder)
      return nil
    elseif lease.holder == ask.holder then
      ask.wanted = 0
      return nil
    end
  end
end

-- At most half of what is left, so that the others find something too.
local function lend(bucket, lease, ask, now)
  local left = ask.tolerance - (bucket.full - now)
  local more = math.floor(math.min(ask.wanted, left / 2) / ask.unit) * ask.unit
  if more <= 0 then return lease end
  if not lease then
    lease = { holder = ask.holder, serial = ask.serial, taken = ask.spent, spent = ask.spent }
    table.insert(bucket.leases, lease)
  end
  lease.taken, bucket.held, bucket.full = lease.taken + more, bucket.held + more, bucket.full + more
  return lease
end

local function take_back(bucket, lease)
  local left = lease.taken - lease.spent
  lease.taken, bucket.held, bucket.full = lease.spent, bucket.held - left, bucket.full - left
end

local function keep(bucket, lease, ask, now)
  if lease.taken > lease.spent then
    lease.ends = now + ask.validity
    local numbers = { text(ask.serial), text(lease.taken), text(lease.spent), text(lease.ends) }
    redis.call('HSET', bucket.key, ask.holder, table.concat(numbers, ' '))
  else
    for i, other in ipairs(bucket.leases) do
      if other == lease then table.remove(bucket.leases, i) end
    end
    redis.call('HDEL', bucket.key, ask.holder)
  end
  bucket.changed = true
end

local function asked(at)
  return {
    holder = ARGV[4], cost = tonumber(ARGV[at]), tolerance = tonumber(ARGV[at + 1]), ceiling = tonumber(ARGV[at + 2]),
    brought = tonumber(ARGV[at + 3]), serial = tonumber(ARGV[at + 4]), spent = tonumber(ARGV[at + 5]),
    wanted = tonumber(ARGV[at + 6]), unit = tonumber(ARGV[at + 7]), validity = tonumber(ARGV[at + 8]),
  }
end

local now = instant()
local run, seen, guarded = server(ARGV[1]), ARGV[2], ARGV[3] == '1'
local lost = remember(KEYS[1], run, seen, guarded, now, #KEYS == 1)
local numbers = { now }
local buckets, refused = {}, false
for i = 2, #KEYS do
  local ask = asked(5 + (i - 2) * 9)
  local bucket = open(KEYS[i], now, lost, ask.tolerance, ask.ceiling, ask.brought)
  bucket.ask, bucket.lease = ask, settle(bucket, ask)
  -- What this memory does not know was not taken from it.
  if ask.cost < 0 and bucket.unknown then ask.cost = 0 end
  bucket.after, bucket.wait = bucket.full + ask.cost, 0
  if ask.cost > 0 then bucket.wait = math.max(0, bucket.after - now - ask.tolerance) end
  refused = refused or bucket.wait > 0
  table.insert(buckets, bucket)
end
for _, bucket in ipairs(buckets) do
  local ask, lease = bucket.ask, bucket.lease
  if not refused then
    bucket.full = bucket.after
    if ask.wanted > 0 then lease = lend(bucket, lease, ask, now) end
  end
  if lease and ask.wanted < 0 then take_back(bucket, lease) end
  bucket.full = math.max(bucket.full, now + bucket.held)
  if lease then keep(bucket, lease, ask, now) end
  if bucket.changed or not refused then close(bucket, now) end
  table.insert(numbers, math.max(0, ask.tolerance - (bucket.full - now)))
  table.insert(numbers, bucket.full - now)
  table.insert(numbers, bucket.wait)
  table.insert(numbers, lease and lease.taken or ask.spent)
end
return { run, lost and text(lost) or '', lost and text(now - lost) or '', numbers }
