-- Spends on every bucket or on none.
-- KEYS: the mark of the memory, then one bucket a draw.
-- ARGV: the server's run, the run the caller knows, whether to guard against loss; then for each bucket its cost,
-- tolerance, ceiling, and what the caller brings back.

local now = instant()
local run, seen, guarded = server(ARGV[1]), ARGV[2], ARGV[3] == '1'
local lost = remember(KEYS[1], run, seen, guarded, now, #KEYS == 1)
local numbers = {}
local buckets, refused = {}, false
for i = 2, #KEYS do
  local at = 4 + (i - 2) * 4
  local cost, tolerance = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local bucket = open(KEYS[i], now, lost, tolerance, tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))
  bucket.tolerance, bucket.after = tolerance, bucket.full + cost
  bucket.wait = math.max(0, bucket.after - now - tolerance)
  refused = refused or bucket.wait > 0
  table.insert(buckets, bucket)
end
for _, bucket in ipairs(buckets) do
  if not refused then bucket.full = bucket.after end
  if bucket.changed or not refused then close(bucket, now) end
  local left, reset, wait = weighing(bucket, bucket.tolerance, bucket.wait, now)
  table.insert(numbers, left)
  table.insert(numbers, reset)
  table.insert(numbers, wait)
end
return { run, lost and text(lost) or '', lost and text(now - lost) or '', numbers }
