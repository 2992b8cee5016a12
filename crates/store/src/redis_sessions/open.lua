-- Begins a session. One that is there already stays: a repeated call must not set its generation back.
-- KEYS: the session. ARGV: the first generation; for how many milliseconds it may be idle, and live.

local now, kept_under = instant(), reign()
if not kept_under then return follows_another() end
if redis.call('EXISTS', KEYS[1]) == 0 then
  local idle, absolute = now + tonumber(ARGV[2]), now + tonumber(ARGV[3])
  redis.call('HSET', KEYS[1], 'reign', kept_under, 'generation', ARGV[1], 'rotated', text(now), 'repeats', 0,
    'idle', text(idle), 'absolute', text(absolute))
  redis.call('PEXPIRE', KEYS[1], text(math.min(idle, absolute) - now))
end
return 'OK'
