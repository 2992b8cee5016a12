-- Whether this server can keep sessions: it must take a write, and must not throw away what it was given.
-- KEYS: any on the server that is asked.

local kept_under = reign()
if not kept_under then return follows_another() end
redis.call('SET', KEYS[1], kept_under, 'PX', 1000)
return {
  string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:(%S+)'),
  string.match(redis.call('INFO', 'persistence'), 'aof_enabled:(%d)'),
}
