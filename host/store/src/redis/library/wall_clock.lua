-- The wall clock of the server. Tests put another file in the place of this one.

-- What time the server says it is, in microseconds since 2025.
local function wall_clock()
  local time = redis.call('TIME')
  return (time[1] - 1735689600) * 1000000 + time[2]
end

