-- A session is a hash: the reign it is kept under, the generation of its refresh token, when that began, how often the
-- token before it was repeated, and when the session is idle for too long. All instants are milliseconds of this server.

local function instant()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

-- Which process keeps this memory, and since which promotion: another one after a restart, and after a failover even
-- where the same process is the master again. What was written under another reign may lack what came last.
-- A server that follows another has none, and is not to be believed.
local function reign()
  local replication = redis.call('INFO', 'replication')
  if not string.find(replication, 'role:master', 1, true) then return nil end
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  return run .. ':' .. string.match(replication, 'master_replid:(%x+)')
end

local function follows_another()
  return redis.error_reply('READONLY this server follows another')
end
