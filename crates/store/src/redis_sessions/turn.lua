-- Presents the refresh token of a generation: the current one makes its successor, the one before it may be repeated for
-- a while, and of any other somebody had a copy. The grace has two sides: after the clock was set back, what lies in the
-- future is no moment ago.
-- KEYS: the session. ARGV: whether to `turn` it or only to `look` what would be; the generation; for how many
-- milliseconds its predecessor may be repeated, and how often; for how many the session may then be idle.

local now, kept_under = instant(), reign()
if not kept_under then return follows_another() end
local turns, asked = ARGV[1] == 'turn', tonumber(ARGV[2])
local grace, most, may_idle = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local fields = redis.call('HMGET', KEYS[1], 'reign', 'generation', 'rotated', 'repeats', 'idle', 'absolute')
local lost = { 'lost', 0, 0, 0 }
if fields[1] ~= kept_under then return lost end
local generation, rotated, repeats = tonumber(fields[2]), tonumber(fields[3]), tonumber(fields[4])
local idle, absolute = tonumber(fields[5]), tonumber(fields[6])
if idle <= now or absolute <= now then return lost end

local function answer(word)
  return { word, generation, rotated, idle }
end

if asked == generation then
  generation, rotated, idle = generation + 1, now, math.min(now + may_idle, absolute)
  if turns then
    redis.call('HSET', KEYS[1], 'generation', text(generation), 'rotated', text(rotated), 'repeats', 0, 'idle', text(idle))
    redis.call('PEXPIRE', KEYS[1], text(idle - now))
  end
  return answer('rotated')
elseif asked == generation - 1 and math.abs(now - rotated) < grace then
  if repeats >= most then return answer('too_many_repeats') end
  if turns then redis.call('HINCRBY', KEYS[1], 'repeats', 1) end
  return answer('repeated')
end
return answer('reused')
