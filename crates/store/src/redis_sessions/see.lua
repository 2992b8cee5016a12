-- Reads a session as it is. KEYS: the session.

local now, kept_under = instant(), reign()
if not kept_under then return follows_another() end
local fields = redis.call('HMGET', KEYS[1], 'reign', 'generation', 'rotated', 'idle')
if fields[1] ~= kept_under or tonumber(fields[4]) <= now then return { 'lost', 0, 0, 0 } end
return { 'kept', tonumber(fields[2]), tonumber(fields[3]), tonumber(fields[4]) }
