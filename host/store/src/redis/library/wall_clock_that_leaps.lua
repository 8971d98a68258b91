-- The wall clock of a server that a test sets forward and back: by so many
-- microseconds as it has said.

local function wall_clock()
  local time = redis.call('TIME')
  local set = tonumber(redis.call('GET', 'wall_clock_is_set_by') or 0)
  return (time[1] - 1735689600) * 1000000 + time[2] + set
end

